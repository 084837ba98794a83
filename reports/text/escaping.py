"""Escapes hostile text from devices and files for script elements, figures, spreadsheets and paths.

Jinja escapes HTML itself.
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

from reports.text.numbers import moment_of_text, moment_text

# Spreadsheets read a cell that starts like this as a formula, wide forms and leading white space included.
_FORMULA = re.compile(r"^\s*[=+\-@|%＝＋－＠]|^[\t\r\n]")  # noqa: RUF001 - the wide forms are intended
# The format of moment_text.
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d (?:[A-Z]{3,5}|[+-]\d{2,4})\b")
_BACKTICKS = re.compile(r"`([^`\n]{1,400})`")
# Cached, as ids of runs and names of devices recur on every row of a site.
_MOST_REMEMBERED = 8192
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# Control characters and those that change the writing direction are spelled out by their number.
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
    """Spells out the invisible characters of text; anything else, safe markup included, is returned unchanged."""
    # Nearly all text is plain, and markup consists of text that has passed through here.
    if not isinstance(content, str) or isinstance(content, Markup) or _HIDDEN.search(content) is None:
        return content
    return content.translate(_INVISIBLE)


def finite(tree: Any) -> Any:
    """Replaces NaN and infinities in a tree with ``nan``, ``inf`` and ``-inf``: JSON has no numbers for them."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return "nan" if math.isnan(tree) else ("inf" if tree > 0 else "-inf")
    if isinstance(tree, Mapping):
        return {str(key): finite(item) for key, item in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str | bytes):
        return [finite(item) for item in tree]
    return tree


def json_for_script(tree: Any) -> Markup:
    """Returns JSON that cannot leave a ``<script type="application/json">``: ASCII without ``<``, ``>`` and ``&``."""
    try:
        plain = _compact(tree)
    except ValueError:  # not all numbers are finite
        plain = _compact(finite(tree))
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)  # noqa: S704 - made safe just above


def _compact(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def shorten(name: str, longest: int = 48) -> str:
    """Spells out invisible characters of a name and cuts it if it is too long for a sentence or a legend."""
    plain = str(visible(name))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def figure_text(name: str, longest: int = 48) -> str:
    """Escapes a name for a figure, as plotly interprets tags and entities in any text; long names are cut."""
    return shorten(name, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def prose(sentence: str) -> Markup:
    """Escapes text, marks parts between backticks as code, and adds its UTC to each moment."""
    escaped = escape(visible(sentence))
    if "`" not in escaped and _MOMENT.search(escaped) is None:
        return escaped
    coded = _BACKTICKS.sub(r"<code>\1</code>", str(escaped))
    return Markup(_MOMENT.sub(_with_utc, coded))  # noqa: S704 - escaped first


def timed(iso: str | None) -> Markup:
    """Returns a moment in the host's zone that displays its UTC on hovering."""
    return prose(moment_text(iso))


def _with_utc(found: "re.Match[str]") -> str:
    utc = moment_of_text(found[0])
    if utc is None:
        return found[0]
    return f'<time datetime="{utc:%Y-%m-%dT%H:%MZ}" title="{utc:%Y-%m-%d %H:%M} UTC">{found[0]}</time>'


@lru_cache(maxsize=_MOST_REMEMBERED)
def csv_text(cell: str) -> str:
    """Returns a cell that no spreadsheet takes for a formula: an apostrophe precedes a suspicious start."""
    plain = str(visible(cell))
    return f"'{plain}" if _FORMULA.match(plain) else plain


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a CSV file as text; its cells must have passed through :func:`csv_text`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


@lru_cache(maxsize=_MOST_REMEMBERED)
def file_name(name: str) -> str:
    """Returns a name that is safe as one part of a path and of a URL; a hash keeps unsafe ones distinct."""
    if _SAFE_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    return f"{stem or 'run'}-{digest}"
