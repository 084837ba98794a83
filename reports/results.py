"""The two tables of a run's page with a row per measurement: results, and the details behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foundation.unavailable import Unavailable
from reports import cells
from reports.badges import badges
from reports.cells import Cell, Column, Footnotes
from reports.escaping import file_name
from reports.measured import Measurement, workload_name
from reports.numbers import decimals, plain, quantity, scientific
from reports.palette import slot
from reports.reading import number, value
from reports.status import Status, status, worst_kept

# Keeps a page below its 300 KB; what is left out is counted on the page and is whole in the CSV.
MOST_ROWS = 60

_CellOf = Callable[[Measurement, Footnotes], Cell]


@dataclass(frozen=True)
class Row:
    """One measurement. ``anchor`` is its permanent link on the page; ``slot`` the colour of its setting."""

    anchor: str
    device: str
    badges: Sequence[str]
    setting: str
    slot: int
    workload: str
    cells: Sequence[Cell]
    status: Status
    reason: str


@dataclass(frozen=True)
class Table:
    """Rows under their headings, with the footnotes that they refer to. ``hidden`` rows are only in the CSV."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    footnotes: Footnotes
    several_workloads: bool
    hidden: int


def results(found: Sequence[Measurement], reference: str) -> Table:
    """Latency, memory, energy and so on of each measurement."""
    columns: list[tuple[Column, _CellOf]] = [
        (Column("Latency of a step", "median"), cells.latency),
        (Column(f"Ratio to {reference}", "latency"), cells.to_reference),
        (Column("Peak memory"), cells.peak_memory),
        (Column("Memory over weights"), cells.memory_over_weights),
        (Column("Program size"), cells.program_size),
        (Column("Energy per step"), cells.energy),
        (Column("Power", "mean"), cells.power),
        (Column("Stability", "score"), cells.stability),
    ]
    return _table(found, columns, "n")


def details(found: Sequence[Measurement]) -> Table:
    """What lies behind the results: load, spread, loss, temperature, how energy was read."""
    columns: list[tuple[Column, _CellOf]] = [
        (
            Column("Slowest step"),
            lambda item, notes: notes.quantity(number(item.record, "latency_ms", "max"), "ms", *_percentiles(item)),
        ),
        (Column("Load", "median"), lambda item, notes: notes.quantity(number(item.record, "load_ms", "median"), "ms")),
        (
            Column("Memory after load"),
            lambda item, notes: notes.quantity(number(item.record, "memory_after_load_kib"), "KiB"),
        ),
        (Column("Loss", "first → last"), _loss),
        (Column("Off the reference", "largest, relative"), _off_reference),
        (Column("Temperature", "start → highest"), _temperature),
        (Column("Throttled", kind="text"), _throttled),
        (Column("How energy was read", kind="text"), _energy_method),
        (Column("Sampler's cost", "of a step"), _overhead),
    ]
    return _table(found, columns, "d")


def reference_setting(found: Sequence[Measurement]) -> str:
    """The setting that ratios are to, or a word for it when none was recorded."""
    named = (value(item.record, "ratio_to_reference", "setting") for item in found)
    return next((name for name in named if isinstance(name, str)), "the reference")


def _table(found: Sequence[Measurement], columns: Sequence[tuple[Column, _CellOf]], prefix: str) -> Table:
    notes = Footnotes(prefix)
    several = len({workload_name(item) for item in found}) > 1
    rows = [
        Row(
            anchor=f"m-{file_name(item.measurement_id)}",
            device=item.device,
            badges=badges(item.emulated, item.origin),
            setting=item.setting,
            slot=slot(item.setting),
            workload=workload_name(item) if several else "",
            cells=[cell_of(item, notes) for _, cell_of in columns],
            status=status(item.status),
            reason=item.reason,
        )
        for item in worst_kept(found, [item.status for item in found], MOST_ROWS)
    ]
    return Table([column for column, _ in columns], rows, notes, several, max(0, len(found) - MOST_ROWS))


def _percentiles(item: Measurement) -> list[str]:
    shown = []
    for name in ("p50", "p90", "p95", "p99"):
        found = number(item.record, "latency_ms", name)
        shown += [f"{name} {quantity(found, 'ms')}"] if isinstance(found, float) else []
    return shown


def _loss(item: Measurement, notes: Footnotes) -> Cell:
    first, last = number(item.record, "loss", "first"), number(item.record, "loss", "last")
    if isinstance(first, Unavailable) or isinstance(last, Unavailable):
        return notes.cell(
            first if isinstance(first, Unavailable) else last if isinstance(last, Unavailable) else Unavailable("")
        )
    return Cell(f"{plain(first, decimals(first))} → {plain(last, decimals(last))}", sort=cells.sortable(last))


def _off_reference(item: Measurement, notes: Footnotes) -> Cell:
    error, steps = number(item.record, "loss", "max_relative_error"), number(item.record, "loss", "reference_steps")
    if isinstance(error, Unavailable):
        return notes.cell(error)
    return notes.number(error, scientific(error), f"over {steps:.0f} steps" if isinstance(steps, float) else "")


def _temperature(item: Measurement, notes: Footnotes) -> Cell:
    start, highest = number(item.record, "temperature_c", "start"), number(item.record, "temperature_c", "max")
    if isinstance(highest, Unavailable):
        return notes.cell(highest)
    before = plain(start, 1) if isinstance(start, float) else "?"
    return notes.number(highest, f"{before} → {plain(highest, 1)}\u00a0°C")


def _throttled(item: Measurement, notes: Footnotes) -> Cell:
    found = value(item.record, "throttled")
    if isinstance(found, Unavailable):
        return notes.cell(found)
    return Cell("yes" if found is True else "no" if found is False else str(found), sort=str(found))


def _energy_method(item: Measurement, notes: Footnotes) -> Cell:
    method = value(item.record, "energy_mj_per_step", "method")
    if isinstance(method, Unavailable):
        return notes.cell(method)
    rate, error = (number(item.record, "energy_mj_per_step", part) for part in ("rate_hz", "alignment_error_ms"))
    small = [f"{plain(rate, decimals(rate))}\u00a0Hz"] if isinstance(rate, float) else []
    small += [f"aligned to {quantity(error, 'ms')}"] if isinstance(error, float) else []
    return Cell(str(method), tuple(small), sort=str(method))


def _overhead(item: Measurement, notes: Footnotes) -> Cell:
    found = number(item.record, "sampler_overhead_percent")
    return notes.cell(found) if isinstance(found, Unavailable) else notes.number(found, f"{plain(found, 2)}\u00a0%")
