"""Tables of outcomes: a row for each metric of a workload on a device, with changes first.

A night's verdicts are such a table (with a matrix of device by setting, and CSV and JSON files), and so is the
comparison of two runs.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from foundation.unavailable import Json
from reports.files import device_place, series_place
from reports.model.histories import SeriesVerdict
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import metric_order, metric_title, metric_value
from reports.model.reading import known_number, text
from reports.tables.sections import Grid, GridCell, GridRow, Head, Section
from reports.text.appearance import Status, badges, setting_order, slot, status
from reports.text.escaping import csv_table, csv_text, file_name, finite
from reports.text.numbers import decimals, format_count, format_list, percent_change, percent_span, plain

VERDICTS_CSV = "verdicts.csv"
WORDS = ("regressed", "improved", "inconclusive", "accepted", "insufficient", "unchanged")


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

    ``words`` are the outcomes in row order, ``outcome`` returns the one of a row; ``heads`` and ``cells`` are the
    columns after the metric; ``links`` returns the pages of a row's device and metric, ``marks`` the badges of its
    device.
    """

    name: str
    title: str
    caption: str
    words: Sequence[str]
    outcome: Callable[[Row], str]
    anchor: Callable[[Row], str]
    heads: Sequence[Head]
    cells: Callable[[Row], Sequence[GridCell]]
    links: Callable[[Row], tuple[str, str]]
    marks: Callable[[Row], Sequence[str]]
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
        """Builds the section with all rows, in the given order."""
        if not ordered:
            return Section(self.name, self.title, empty=self.empty)
        several = len({workload_words(one.workload) for one in ordered}) > 1
        heads = (
            *(Head("Device", choices=True), Head("Setting", choices=True)),
            *((Head("Workload", choices=True),) if several else ()),
            Head("Metric", choices=True),
            *self.heads,
        )
        rows = [GridRow(self.anchor(one), (*self._subject(one, several), *self.cells(one))) for one in ordered]
        return Section(self.name, self.title, (Grid(self.name, self.caption, heads, rows),))

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


def changed_first(verdicts: Sequence[SeriesVerdict]) -> list[SeriesVerdict]:
    """Sorts by verdict (in the order of `WORDS`), device, workload and metric."""
    return _TABLE.changed_first(verdicts)


def verdict_counts(counts: Mapping[str, int]) -> str:
    """Formats counts as ``2 regressed, 1 improved and 40 unchanged``, worst first."""
    return outcome_counts(counts, WORDS)


def night_status(counts: Mapping[str, int]) -> Status:
    """Returns the night's overall status: its worst verdict, ``unchanged`` before ``insufficient``."""
    for word in ("regressed", "inconclusive", "improved", "accepted", "unchanged", "insufficient"):
        if counts.get(word):
            return status(word)
    return status("not judged")


def series_link(one: SeriesVerdict) -> str:
    """Returns the link to the metric on the series' page."""
    return f"{series_place(one.device, one.workload_key)}#{file_name(one.metric)}"


def verdict_section(ordered: Sequence[SeriesVerdict]) -> Section:
    """Builds the table of verdicts in the given order."""
    return _TABLE.section(ordered)


def _cells(one: SeriesVerdict) -> tuple[GridCell, ...]:
    outcome = status(one.verdict)
    value = "\u2013" if one.value is None else metric_value(one.metric, one.value)
    centre, points = (known_number(one.numbers, key) for key in ("centre", "points"))
    before = [] if centre is None else [f"history {metric_value(one.metric, centre)}"]
    before += [] if points is None else [f"n = {format_count(int(points), 'point')}"]
    cause = text(one.inputs, "cause")
    why = [one.sentence]
    why += [f"cause: {cause}"] if cause else []
    why += [f"`{one.command}`"] if one.command else []
    return (
        GridCell(one.verdict, status=outcome, sort=str(outcome.order)),
        GridCell(value, before, sort="" if one.value is None else f"{one.value:.7g}"),
        _ratio(one),
        *(_small_number(one, key) for key in ("p", "q")),
        GridCell(why[0], why[1:]),
    )


def _ratio(one: SeriesVerdict) -> GridCell:
    ratio, low, high, pairs, change = (
        known_number(one.numbers, key) for key in ("ratio", "ratio_low", "ratio_high", "pairs", "change")
    )
    if ratio is not None:
        small = [] if low is None or high is None else [percent_span(low, high)]
        small += [] if pairs is None else [f"n = {format_count(int(pairs), 'pair')}"]
        return GridCell(percent_change(ratio), small, sort=f"{ratio:.7g}")
    if change is not None:
        return GridCell(percent_change(1 + change), ("to its history, not measured in turn",), sort=f"{1 + change:.7g}")
    return GridCell("\u2013")


def _small_number(one: SeriesVerdict, key: str) -> GridCell:
    found = known_number(one.numbers, key)
    if found is None:
        return GridCell("\u2013")
    return GridCell(plain(found, decimals(found, 2)) if found >= 1e-4 else f"{found:.0e}", sort=f"{found:.7g}")


_TABLE: OutcomeTable[SeriesVerdict] = OutcomeTable(
    name="verdicts",
    title="Verdicts",
    caption="Every series, changes first",
    words=WORDS,
    outcome=lambda one: one.verdict,
    anchor=lambda one: f"v-{file_name(f'{one.measurement_id}-{one.metric}')}",
    heads=(
        *(Head("Verdict", kind="status", choices=True), Head("This night", kind="number")),
        *(
            Head("Ratio to baseline", "95 % interval", "number", beside=True),
            Head("p", kind="number"),
            Head("q", kind="number"),
        ),
        Head("Why, and how to reproduce it", wide=True),
    ),
    cells=_cells,
    links=lambda one: (device_place(one.device), series_link(one)),
    marks=lambda one: badges(one.emulated),
    empty=(
        "No series was judged this night. A series is judged once its measurement is done: `suite nightly` continues "
        "an interrupted night."
    ),
)


def matrix_section(ordered: Sequence[SeriesVerdict]) -> Section:
    """Builds the table of device by setting: the worst verdict of each cell with its counts."""
    settings = sorted({setting_of(one.workload) for one in ordered}, key=setting_order)
    cells: dict[tuple[str, str], dict[str, list[SeriesVerdict]]] = {}
    for one in ordered:
        row = cells.setdefault((one.device, workload_words(one.workload)), {})
        row.setdefault(setting_of(one.workload), []).append(one)
    if not cells:
        return Section("matrix", "Device by setting", empty="There is nothing to compare: no series was judged.")
    rows = [
        GridRow(
            anchor=f"x-{file_name(f'{device} {workload}')}",
            cells=(
                GridCell(device, (workload,), href=device_place(device)),
                *(_matrix_cell(found.get(setting, [])) for setting in settings),
            ),
        )
        for (device, workload), found in cells.items()
    ]
    heads = (Head("Device"), *(Head(setting, kind="number") for setting in settings))
    grid = Grid("matrix", "The worst verdict of each device and setting", heads, rows)
    return Section("matrix", "Device by setting", (grid,))


def _matrix_cell(found: Sequence[SeriesVerdict]) -> GridCell:
    if not found:
        return GridCell("not measured")
    counts = Counter(one.verdict for one in found)
    worst = night_status(counts)
    own = next((one for one in found if one.metric == "latency_ms" and one.value is not None), None)
    small = [f"{counts[worst.word]} of {format_count(len(found), 'series', 'series')}"]
    small += [f"{metric_value(own.metric, own.value)} a step"] if own is not None and own.value is not None else []
    return GridCell(worst.word, small, str(worst.order), series_link(found[0]).partition("#")[0], worst)


_NUMBERS = ("centre", "margin", "ratio", "ratio_low", "ratio_high", "p", "q", "points", "pairs")
_NAMES = ("device", "setting", "workload_key", "metric", "direction", "emulated", "measurement_id")
_VERDICT_COLUMNS = (*_NAMES, "verdict", "rule", "at", "value", *_NUMBERS, "sentence", "command")


def verdicts_csv(verdicts: Sequence[SeriesVerdict]) -> str:
    """Returns CSV with one row per series in the given order, at full precision; unknown values are empty."""
    rows = []
    for one in verdicts:
        named = (one.device, setting_of(one.workload), one.workload_key, one.metric, one.direction)
        row = [csv_text(part) for part in named]
        row += [str(one.emulated).lower(), csv_text(one.measurement_id), one.verdict, csv_text(one.rule), one.at]
        values = [one.value, *(known_number(one.numbers, key) for key in _NUMBERS)]
        row += ["" if value is None else repr(value) for value in values]
        row += [csv_text(one.sentence), csv_text(one.command)]
        rows.append(row)
    return csv_table(_VERDICT_COLUMNS, rows)


def verdicts_json(verdicts: Sequence[SeriesVerdict]) -> str:
    """Returns the verdicts as a JSON list, with the inputs of each."""
    return json.dumps(finite([dataclasses.asdict(one) for one in verdicts]), ensure_ascii=False, indent=1) + "\n"
