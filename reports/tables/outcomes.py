"""Tables of outcomes: a row for each metric of a workload on a device, changes first, the rest in a file.

A night's verdicts and the comparison of two runs are such tables.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from foundation.unavailable import Json
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import metric_order, metric_title
from reports.tables.sections import Grid, GridCell, GridRow, Head, Link, Section
from reports.text.appearance import setting_order, slot
from reports.text.numbers import format_list

# Keeps the page light; the file beside it is complete.
MOST_ROWS = 150


class Subject(Protocol):
    """What a row is about."""

    @property
    def device(self) -> str: ...
    @property
    def workload(self) -> Mapping[str, Json]: ...
    @property
    def metric(self) -> str: ...


Row = TypeVar("Row", bound=Subject)


@dataclass(frozen=True)
class OutcomeTable(Generic[Row]):
    """How rows of one kind are laid out.

    ``words`` are the outcomes in row order, ``outcome`` returns a row's; ``heads`` and ``cells`` are the
    columns after the metric; ``links`` returns the pages of a row's device and metric, ``marks`` the badges of its
    device. ``things`` is what rows are called; ``file`` holds all of them, as ``holds`` says.
    """

    name: str
    title: str
    caption: str
    things: str
    words: Sequence[str]
    outcome: Callable[[Row], str]
    anchor: Callable[[Row], str]
    heads: Sequence[Head]
    cells: Callable[[Row], Sequence[GridCell]]
    links: Callable[[Row], tuple[str, str]]
    marks: Callable[[Row], Sequence[str]]
    file: str
    holds: str
    empty: str

    def changed_first(self, rows: Iterable[Row]) -> list[Row]:
        """Sorts rows in the order of the words, unknown ones last, each by device, workload, setting and metric."""
        places = {word: place for place, word in enumerate(self.words)}
        return sorted(
            rows,
            key=lambda one: (
                places.get(self.outcome(one), len(places)),
                one.device,
                workload_words(one.workload),
                setting_order(setting_of(one.workload)),
                metric_order(one.metric),
            ),
        )

    def section(self, ordered: Sequence[Row]) -> Section:
        """Builds the section with rows in the given order; those beyond the limit are counted and left to the file."""
        if not ordered:
            return Section(self.name, self.title, empty=self.empty)
        listed_rows, hidden = ordered[:MOST_ROWS], ordered[MOST_ROWS:]
        notes, links = [], []
        if hidden:
            words = outcome_counts(Counter(self.outcome(one) for one in hidden), self.words)
            notes.append(f"{len(hidden):,} further {self.things} are not shown here ({words}).")
            links.append(Link(self.file, f"./{self.file}", self.holds))
        several = len({workload_words(one.workload) for one in ordered}) > 1
        heads = (
            *(Head("Device", choices=True), Head("Setting", choices=True)),
            *((Head("Workload", choices=True),) if several else ()),
            Head("Metric", choices=True),
            *self.heads,
        )
        rows = [GridRow(self.anchor(one), (*self._subject(one, several), *self.cells(one))) for one in listed_rows]
        return Section(self.name, self.title, (Grid(self.name, self.caption, heads, rows, notes),), links=links)

    def _subject(self, one: Row, several: bool) -> list[GridCell]:
        setting, (device_page, metric_page) = setting_of(one.workload), self.links(one)
        return [
            GridCell(one.device, href=device_page, badges=self.marks(one)),
            GridCell(setting, slot=slot(setting)),
            *((GridCell(workload_words(one.workload)),) if several else ()),
            GridCell(metric_title(one.metric), href=metric_page),
        ]


def outcome_counts(counts: Mapping[str, int], words: Sequence[str]) -> str:
    """Formats counts as ``2 regressed, 1 improved and 40 unchanged``, in the order of ``words``, others last."""
    known = [word for word in (*words, *sorted(set(counts) - set(words))) if counts.get(word)]
    return format_list([f"{counts[word]:,} {word}" for word in known])
