"""Text from devices and files is hostile: how it goes into a script element, a figure, a spreadsheet, a path.

HTML itself is escaped by Jinja.
"""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

# Spreadsheets read a cell that begins so as a formula; the wide forms too, and white space before does not stop them.
_FORMULA = re.compile(r"^\s*[=+\-@|%＝＋－＠]|^[\t\r\n]")  # noqa: RUF001 - the wide forms are meant
_BACKTICKS = re.compile(r"`([^`\n]{1,400})`")
# Ids of runs and names of devices come again on every row of a site.
_MOST_REMEMBERED = 8192
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# Control characters and those that turn the direction of writing: they are shown by their number.
_INVISIBLE = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in [
        *range(9),
        11,
        12,
        *range(14, 32),
        *range(127, 160),
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
}
_HIDDEN = re.compile(f"[{re.escape(''.join(map(chr, _INVISIBLE)))}]")


def visible(content: Any) -> Any:
    """Text with its invisible characters spelled out; anything else, and safe markup as such, unchanged in kind."""
    # Nearly all text is plain, and markup was put together from text that went through here.
    if not isinstance(content, str) or isinstance(content, Markup) or _HIDDEN.search(content) is None:
        return content
    return content.translate(_INVISIBLE)


def finite(tree: Any) -> Any:
    """The same tree with NaN and infinities as ``nan``, ``inf`` and ``-inf``: JSON has no numbers for them."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return "nan" if math.isnan(tree) else ("inf" if tree > 0 else "-inf")
    if isinstance(tree, Mapping):
        return {str(key): finite(item) for key, item in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str | bytes):
        return [finite(item) for item in tree]
    return tree


def json_for_script(tree: Any) -> Markup:
    """JSON that can't leave a ``<script type="application/json">``: no ``<``, ``>``, ``&`` and nothing beyond ASCII."""
    try:
        plain = _compact(tree)
    except ValueError:  # not all numbers are finite
        plain = _compact(finite(tree))
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)  # noqa: S704 - made safe just above


def _compact(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def shortened(name: str, longest: int = 48) -> str:
    """A name with its invisible characters spelled out, cut where it is too long for a sentence or a legend."""
    plain = str(visible(name))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def figure_text(name: str, longest: int = 48) -> str:
    """A name for a figure: plotly reads tags and entities in any text, so they are escaped; long ones are cut."""
    return shortened(name, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def prose(sentence: str) -> Markup:
    """Escaped text in which what stands between backticks is set as code."""
    escaped = escape(visible(sentence))
    if "`" not in escaped:
        return escaped
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escaped)))  # noqa: S704 - escaped first


@lru_cache(maxsize=_MOST_REMEMBERED)
def csv_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: a suspicious beginning gets an apostrophe before it."""
    plain = str(visible(cell))
    return f"'{plain}" if _FORMULA.match(plain) else plain


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file as text; texts in it went through :func:`csv_text`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


@lru_cache(maxsize=_MOST_REMEMBERED)
def file_name(name: str) -> str:
    """A name that is safe as one part of a path and of a URL; unsafe ones are told apart by a hash."""
    if _SAFE_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    return f"{stem or 'run'}-{digest}"
