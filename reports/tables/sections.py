"""The elements of pages: a banner, sections, tables, figures. One template (page.html) renders all pages.

Links are relative to the site's root; the template makes them relative to the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foundation.unavailable import Json
from reports.figures.panels import Figure
from reports.model.histories import Remark
from reports.tables.pictures import Answer, HeatGrid, Matrix
from reports.text.appearance import Status
from reports.text.escaping import visible
from reports.text.numbers import format_count

if TYPE_CHECKING:  # imported only for types, as its cards contain grids
    from reports.tables.findings import FindingCards

LinkOf = Callable[[str], str]
"""Returns the link of a page that exists or is about to be built, otherwise an empty text."""


@dataclass(frozen=True)
class Link:
    """``text`` that links to ``href``."""

    text: str
    href: str
    quiet: str = ""


@dataclass(frozen=True)
class GridCell:
    """A cell: a status, a setting's swatch, or ``main``; ``small`` are the lines below it, visible once its row is
    opened.

    ``sort`` is its sort key if that is not its text; ``slot`` the colour of a setting. Text between backticks is set as
    code. ``badges`` and ``tags`` (names given by people) follow it.
    """

    main: str = ""
    small: Sequence[str] = ()
    sort: str = ""
    href: str = ""
    status: Status | None = None
    slot: int | None = None
    badges: Sequence[str] = ()
    tags: Sequence[str] = ()

    def data(self, way: LinkOf) -> Json:
        """Returns what static/tables.js draws: only ``main`` if there is nothing else, or an object with short keys."""
        outcome = self.status
        found: dict[str, Json] = {
            "main": visible(self.main),
            "small": [visible(line) for line in self.small],
            "sort": self.sort,
            "href": way(self.href) if self.href else "",
            "state": [outcome.glyph, visible(outcome.word), outcome.tone] if outcome else [],
            "badges": [visible(word) for word in self.badges],
            "tags": [visible(word) for word in self.tags],
        }
        known = {key: one for key, one in found.items() if one}
        if self.slot is not None:
            known["slot"] = self.slot
        return found["main"] if known.keys() <= {"main"} else known


@dataclass(frozen=True)
class Head:
    """A heading. ``kind`` is how its column is sorted and set: ``text``, ``number``, ``status`` (by its order),
    ``moment`` (on one line), ``run`` (a run's id), or empty if it can't be sorted.

    ``choices`` offers its values as a filter, ``wide`` gives room for sentences, ``beside`` puts a value's first small
    line beside it.
    """

    title: str
    hint: str = ""
    kind: str = "text"
    choices: bool = False
    wide: bool = False
    beside: bool = False

    @property
    def look(self) -> str:
        """The class of its column in static/site.css."""
        look = "w" if self.wide else {"number": "n", "moment": "m", "run": "r"}.get(self.kind, "t")
        return f"{look} beside" if self.beside else look


@dataclass(frozen=True)
class GridRow:
    """One row; the first cell is its heading. ``anchor`` is its permanent link on the page."""

    anchor: str
    cells: Sequence[GridCell]


@dataclass(frozen=True)
class Grid:
    """A table with all its rows.

    ``notes`` and ``links`` appear with it. With ``folded``, a summary, it starts closed.
    """

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[GridRow]
    notes: Sequence[str] = ()
    links: Sequence[Link] = ()
    folded: str = ""

    def data(self, way: LinkOf) -> Json:
        """Returns the rows for static/tables.js: anchor and cells; ``way`` makes a link relative to the page."""
        return [[row.anchor, [cell.data(way) for cell in row.cells]] for row in self.rows]


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
class Fold:
    """Facts about one thing, closed at first."""

    title: str
    quiet: str
    facts: Sequence[Facts]
    badges: Sequence[str] = ()
    empty: str = ""


@dataclass(frozen=True)
class Picker:
    """A choice of two runs to compare, ``before`` and ``after`` at first. ``runs`` are (id, moment, name of its files),
    ``pages`` the names of the comparisons that are built; for others the command is displayed."""

    before: str
    after: str
    runs: Sequence[tuple[str, str, str]]
    pages: Sequence[str]

    @property
    def data(self) -> dict[str, Json]:
        """What static/page.js needs."""
        return {"files": {run_id: name for run_id, _, name in self.runs}, "pages": list(self.pages)}


@dataclass(frozen=True)
class Section:
    """A part of a page; if it has no content, ``empty`` replaces it and says what to do.

    With ``folded``, a summary, it starts closed, as evidence for what is above it. ``small`` figures are side by side.
    """

    name: str
    title: str
    grids: Sequence[Grid] = ()
    prose: Sequence[str] = ()
    answers: Sequence[Answer] = ()
    matrices: Sequence[Matrix] = ()
    heats: Sequence[HeatGrid] = ()
    links: Sequence[Link] = ()
    figures: Sequence[Figure] = ()
    small: Sequence[Figure] = ()
    folds: Sequence[Fold] = ()
    picker: Picker | None = None
    facts: Sequence[Facts] = ()
    terms: Sequence[tuple[str, str]] = ()
    empty: str = ""
    folded: str = ""


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
    folded: str = "",
) -> Section:
    """Builds a section with one table (named ``grid``, by default like the section), or ``empty`` if it has no rows.

    ``left_out`` is how many rows are left out, what they are called, and where to find them.
    """
    if not rows:
        return Section(name, title, empty=empty)
    hidden, things, place = left_out
    notes = [f"{format_count(hidden, things)} not shown here{f'; {place}' if place else ''}."] if hidden > 0 else []
    return Section(name, title, grids=(Grid(grid or name, caption, heads, rows, notes),), links=links, folded=folded)


@dataclass(frozen=True)
class Page:
    """A whole page. ``trail`` leads to it from the overview, ``beside`` has links to other pages on its subject.

    ``files`` are the downloads beside it and their use; ``newer`` and ``older`` its neighbours if a list has several
    pages; ``badges`` and ``tags`` follow its heading, ``remarks`` are what people wrote about it.
    """

    title: str
    heading: str
    lead: str
    sections: Sequence[Section]
    banner: Banner | None = None
    trail: Sequence[Link] = ()
    beside: Sequence[Link] = ()
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
        """Every figure on the page."""
        every = [figure for section in self.sections for figure in (*section.figures, *section.small)]
        return [figure for figure in every if not figure.empty]
