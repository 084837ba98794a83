"""A site on disk: its folder, its templates, the assets shared by all pages, and the pages already written.

Each page ends with a digest of its sources, so that only changed pages are built again.

A page can also become a single file to send, which contains style, scripts and downloads, with links to other pages as
text. It is made from the built page. The page's text is escaped everywhere and the data of its figures contains no
``<`` (escaping.py), so that text from outside can't be mistaken for the elements that are replaced here.
"""

import base64
import functools
import hashlib
import html
import importlib.metadata
import importlib.resources
import mimetypes
import re
import tempfile
from collections.abc import Collection
from functools import lru_cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from reports.files import SiteNotWritable, root_of, write_text
from reports.tables.sections import Page
from reports.text.escaping import json_for_script, prose, timed, visible

_TAIL_BYTES = 200
_ENDINGS = (".py", ".html", ".js", ".css")
# Larger files stay in the site's folder: mail and chat would refuse them anyway.
MOST_FILE_BYTES = 8_000_000

_STYLE = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
_SCRIPT = re.compile(r'<script (?:defer )?src="([^"]+)"></script>')
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="[^"]*">')
_ANCHOR = re.compile(r'<a ([^>]*?)href="([^"#][^"]*)"([^>]*)>(.*?)</a>', re.DOTALL)
_DEFERRED = '<script defer src="'


@lru_cache(maxsize=1)
def code_stamp() -> str:
    """Returns a stamp that changes with any file of this package and with plotly."""
    found = hashlib.sha256(importlib.metadata.version("plotly").encode())
    for path in sorted(Path(__file__).parents[1].rglob("*")):
        if path.suffix in _ENDINGS:
            found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def digest(*stamps: str) -> str:
    """Returns the digest of a page built from sources with these stamps, empty (unknown) if one of them is."""
    if not all(stamps):
        return ""
    return hashlib.sha256("\0".join((code_stamp(), *stamps)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_fresh(page: Path, made_from: str) -> bool:
    """Whether ``page`` exists and was built from the same sources."""
    if not made_from or not page.is_file():
        return False
    with page.open("rb") as file:
        file.seek(max(0, page.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").endswith(_line(made_from))


def sign(text: str, made_from: str) -> str:
    """Appends its digest to the page."""
    return text + _line(made_from) if made_from else text


def _line(made_from: str) -> str:
    return f"<!-- made from {made_from} -->\n"


_STATIC = ("page.js", "site.css", "tables.js", "figures.js")


@functools.cache
def environment() -> Environment:
    """Returns Jinja with escaping always on and undefined names as errors; it compiles a template once."""
    jinja = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters["script_json"] = json_for_script
    jinja.filters["prose"] = prose
    jinja.filters["moment"] = timed
    jinja.globals["zip"] = partial(zip, strict=True)
    return jinja


def _write_assets(site: Path) -> dict[str, str]:
    """Writes missing assets into ``assets/``; returns plain name to path from the site's root.

    Raises:
        SiteNotWritable: the folder can't be written.
    """
    static = importlib.resources.files("reports") / "static"
    contents = {name: (static / name).read_text(encoding="utf-8") for name in _STATIC}
    contents["plotly.min.js"] = get_plotlyjs()
    return {name: _write_asset(site, name, content) for name, content in contents.items()}


def _write_asset(site: Path, name: str, content: str) -> str:
    stem, _, ending = name.partition(".")
    encoded = content.encode("utf-8")
    place = f"assets/{stem}-{hashlib.sha256(encoded).hexdigest()[:10]}.{ending}"
    path = site / place
    # A file of another size was damaged from outside: writes are atomic, so it can't be incomplete.
    if not path.is_file() or path.stat().st_size != len(encoded):
        write_text(path, content)
    return place


class Site:
    """A folder of pages. Creating the object writes the assets.

    ``expected`` are the pages that this build writes: links lead to these and to existing pages; all others become
    plain text. A page with such text is not signed, so that it is built again once more pages may exist.

    Raises (and so do its methods):
        SiteNotWritable: the folder or a file can't be written.
    """

    def __init__(self, folder: Path, expected: Collection[str] = ()) -> None:
        self.folder = folder
        self._expected = frozenset(expected)
        # Remembered, as it is looked up for every link; a build writes only what it expects.
        self._there: dict[str, bool] = {}
        self._assets = _write_assets(folder)
        self._jinja = environment()

    def is_fresh(self, place: str, made_from: str) -> bool:
        """Whether the page was built from sources with this digest."""
        return is_fresh(self.folder / place, made_from)

    def built(self, place: str) -> str:
        """Returns ``place`` if the page exists or this build writes it, otherwise an empty text."""
        if place not in self._there:
            self._there[place] = place in self._expected or (self.folder / place).is_file()
        return place if self._there[place] else ""

    def write_page(self, place: str, page: Page, made_from: str = "") -> None:
        """Renders a page; a file with the same text is left untouched."""
        lost: list[str] = []

        def way(href: str) -> str:
            """Returns the link relative to the page, empty if its target does not exist."""
            if not href or href.startswith(("#", "./")):
                return href
            if not self.built(href.partition("#")[0]):
                lost.append(href)
                return ""
            return root_of(place) + href

        facts = {"page": page, "root": root_of(place), "assets": self._assets, "way": way}
        text = self._jinja.get_template("page.html").render(facts)
        text = text if lost else sign(text, made_from)
        path = self.folder / place
        if not path.is_file() or path.read_bytes() != text.encode("utf-8", "backslashreplace"):
            write_text(path, text)

    def write_beside(self, place: str, name: str, text: str) -> None:
        """Writes a download of the page at ``place``.

        To be called before the page is written, so that its links work.
        """
        write_text((self.folder / place).parent / name, text)


def write_single_file(page: Path, target: Path) -> Path:
    """Writes the built ``page`` with everything it needs to ``target`` and returns ``target``.

    Raises:
        SiteNotWritable: the page or an asset can't be read, or the target can't be written.
    """
    try:
        text = page.read_text(encoding="utf-8")
        written = _inlined(text, page.parent)
    except OSError as error:
        raise SiteNotWritable(page, error) from error
    write_text(target, written)
    return target


def write_page_alone(page: Page, target: Path) -> Path:
    """Builds a page without links and writes it to ``target`` with everything it needs; raises as above."""
    with tempfile.TemporaryDirectory() as folder:
        Site(Path(folder)).write_page(target.name, page)
        return write_single_file(Path(folder) / target.name, target)


def _inlined(text: str, folder: Path) -> str:
    scripts: list[str] = []
    # Deferred scripts run once the page is parsed, so they go to the end.
    late: list[str] = []

    def script(found: re.Match[str]) -> str:
        content = (folder / found[1]).read_text(encoding="utf-8").replace("</script", "<\\/script")
        scripts.append(content)
        if found[0].startswith(_DEFERRED):
            late.append(f"<script>{content}</script>")
            return ""
        return f"<script>{content}</script>"

    head, body = text.split("</head>", 1)
    head = _SCRIPT.sub(script, head)
    head = _STYLE.sub(lambda found: f"<style>{(folder / found[1]).read_text(encoding='utf-8')}</style>", head)
    hashes = " ".join(f"'sha256-{_digest(content)}'" for content in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = _POLICY.sub(lambda _: f'<meta http-equiv="Content-Security-Policy" content="{policy}">', head)
    head = head.replace('<html lang="en">', '<html lang="en" data-single>', 1)
    body = _ANCHOR.sub(lambda found: _link(found, folder), body)
    return head + "</head>" + body.replace("</body>", "".join(late) + "</body>")


def _digest(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _link(found: re.Match[str], folder: Path) -> str:
    before, address, after, words = found.groups()
    if "download" not in before + after:
        return words
    name = html.unescape(address).removeprefix("./")
    path = folder / name
    if path.stat().st_size > MOST_FILE_BYTES:
        return f"{words} (not in this file: {path.stat().st_size / 1e6:.0f} MB)"
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<a {before}href="data:{kind};base64,{data}" download="{html.escape(name)}">{words}</a>'
