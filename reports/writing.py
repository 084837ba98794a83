"""One site on the disk: its folder, its shared assets, its templates, and what is there already."""

from collections.abc import Collection
from pathlib import Path

from reports.atomic import write_text
from reports.freshness import is_fresh, signed
from reports.pages import Page
from reports.places import root_of
from reports.rendering import environment, render, write_assets


class Site:
    """A folder that takes pages. Making one writes the assets.

    ``expected`` are the pages that this build writes: links lead to them, or to what is there already, or are plain
    text. A page with such a text is not signed, so that it is built again when there may be more to lead to.

    Raises (and so do its methods):
        SiteNotWritable: the folder or a file can't be written.
    """

    def __init__(self, folder: Path, expected: Collection[str] = ()) -> None:
        self.folder = folder
        self._expected = frozenset(expected)
        # Asked for by every link; what a build does not expect, it does not write.
        self._there: dict[str, bool] = {}
        self._assets = write_assets(folder)
        self._jinja = environment()

    def is_fresh(self, place: str, made_from: str) -> bool:
        """Whether the page was made from what has this digest."""
        return is_fresh(self.folder / place, made_from)

    def built(self, place: str) -> str:
        """``place`` when there is a page, or will be; nothing otherwise."""
        if place not in self._there:
            self._there[place] = place in self._expected or (self.folder / place).is_file()
        return place if self._there[place] else ""

    def write_page(self, place: str, page: Page, made_from: str = "") -> None:
        """Set a page with the template that all pages but a run's share; one whose text is the same stays untouched."""
        self.write(place, "page.html", page, made_from)

    def write(self, place: str, template: str, page: object, made_from: str = "") -> None:
        """Set a page with a template of its own."""
        lost: list[str] = []

        def way(href: str) -> str:
            """The link as the page needs it, nothing for what leads nowhere."""
            if not href or href.startswith(("#", "./")):
                return href
            if not self.built(href.partition("#")[0]):
                lost.append(href)
                return ""
            return root_of(place) + href

        facts = {"page": page, "root": root_of(place), "assets": self._assets, "way": way}
        text = render(self._jinja, template, facts)
        text = text if lost else signed(text, made_from)
        path = self.folder / place
        if not path.is_file() or path.read_bytes() != text.encode("utf-8", "backslashreplace"):
            write_text(path, text)

    def write_beside(self, place: str, name: str, text: str) -> None:
        """A download of the page at ``place``; to be written before it, so that whoever sees the page finds it."""
        write_text((self.folder / place).parent / name, text)
