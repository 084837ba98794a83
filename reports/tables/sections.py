"""What pages consist of: a banner, sections, tables, figures. One template (page.html) renders them all.

Links are relative to the site's root; the template makes them relative to the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reports.figures.panels import Figure
from reports.model.histories import Remark
from reports.text.appearance import Status
from reports.text.numbers import format_count

if TYPE_CHECKING:  # its cards hold grids
    from reports.tables.findings import FindingCards

LinkOf = Callable[[str], str]
"""Returns the link of a page that exists or is about to be built, otherwise nothing."""


@dataclass(frozen=True)
class Link:
    """``text`` that leads to ``href``."""

    text: str
    href: str
    quiet: str = ""


@dataclass(frozen=True)
class GridCell:
    """A cell: a status, a setting's swatch, or ``main``; ``small`` are the lines below it.

    ``sort`` is what it sorts by if that is not its text; ``slot`` the colour of a setting. Text between
    backticks is set as code. ``badges`` and ``tags`` (names that people gave) follow it.
    """

    main: str = ""
    small: Sequence[str] = ()
    sort: str = ""
    href: str = ""
    status: Status | None = None
    slot: int | None = None
    badges: Sequence[str] = ()
    tags: Sequence[str] = ()

    @property
    def plain(self) -> bool:
        """Whether ``main`` is all there is."""
        return not (self.href or self.small or self.status or self.badges or self.tags) and self.slot is None


@dataclass(frozen=True)
class Head:
    """A heading. ``kind`` is how its column sorts and is set: ``text``, ``number``, ``status`` (by its order),
    ``moment`` (on one line), ``run`` (an id of one), or nothing for what can't be sorted. ``choices`` offers its values
    as a filter, ``wide`` gives room for sentences."""

    title: str
    hint: str = ""
    kind: str = "text"
    choices: bool = False
    wide: bool = False

    @property
    def look(self) -> str:
        """The class of its column in static/site.css."""
        return "w" if self.wide else {"number": "n", "moment": "m", "run": "r"}.get(self.kind, "t")


@dataclass(frozen=True)
class GridRow:
    """One row; the first cell is its heading. ``anchor`` is its permanent link on the page."""

    anchor: str
    cells: Sequence[GridCell]


@dataclass(frozen=True)
class Grid:
    """A table. ``notes`` say what is left out, ``links`` where to find it. With ``folded``, a summary of it, it opens
    only when asked."""

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[GridRow]
    notes: Sequence[str] = ()
    links: Sequence[Link] = ()
    folded: str = ""


@dataclass(frozen=True)
class Banner:
    """The page in one sentence; ``items`` are (subject, sentence) below it."""

    status: Status
    headline: str
    items: Sequence[tuple[Link, str]] = ()
    caution: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    caption: str
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of a page; ``empty`` replaces it if it has no content, and says what to do."""

    name: str
    title: str
    grids: Sequence[Grid] = ()
    figures: Sequence[Figure] = ()
    facts: Sequence[Facts] = ()
    prose: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()
    links: Sequence[Link] = ()
    empty: str = ""


def table(
    name: str,
    title: str,
    caption: str,
    heads: Sequence[Head],
    rows: Sequence[GridRow],
    *,
    empty: str,
    left_out: tuple[int, str, str] = (0, "", ""),
    grid: str = "",
    links: Sequence[Link] = (),
) -> Section:
    """Builds a section with one table (called ``grid``, by default as the section), or ``empty`` if it has no rows.

    ``left_out`` is how many rows are left out, what they are called, and where they can be found.
    """
    if not rows:
        return Section(name, title, empty=empty)
    hidden, things, place = left_out
    notes = [f"{format_count(hidden, things)} not shown here{f'; {place}' if place else ''}."] if hidden > 0 else []
    return Section(name, title, (Grid(grid or name, caption, heads, rows, notes),), links=links)


@dataclass(frozen=True)
class Page:
    """A whole page. ``trail`` leads to it from the overview; ``files`` are the downloads beside it and their use;
    ``newer`` and ``older`` are its neighbours where a list goes over several pages; ``badges`` and ``tags`` stand
    behind its heading, ``remarks`` are what people said of it."""

    title: str
    heading: str
    lead: str
    sections: Sequence[Section]
    banner: Banner | None = None
    trail: Sequence[Link] = ()
    files: Sequence[tuple[str, str]] = ()
    meanings: Sequence[Status] = field(default_factory=tuple)
    badges: Sequence[str] = ()
    tags: Sequence[str] = ()
    remarks: Sequence[Remark] = ()
    newer: str = ""
    older: str = ""
    findings: FindingCards | None = None

    @property
    def figures(self) -> list[Figure]:
        """Every figure that is drawn."""
        return [figure for section in self.sections for figure in section.figures if not figure.empty]
