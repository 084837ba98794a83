"""The two tables of a run's page with a row per measurement: results, and the details behind them.

A cell holds what is read, what it sorts by, and the footnote that explains why a value is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foundation.unavailable import Unavailable
from reports.model.measurements import Measurement, Number, interval, number, ratio, value, workload_name
from reports.text.appearance import Status, badges, slot, status, worst_kept
from reports.text.escaping import file_name
from reports.text.numbers import counted, decimals, plain, quantity, scientific, span, times, times_span


@dataclass(frozen=True)
class Cell:
    """``main`` is the value, ``small`` the lines below it; ``sort`` is empty for what has no value and sorts last.

    ``note`` is the number of the footnote with the reason when there is no value.
    """

    main: str
    small: tuple[str, ...] = ()
    sort: str = ""
    note: int = 0


def sortable(found: float) -> str:
    """A number as short as its order needs."""
    return f"{found:.7g}"


@dataclass(frozen=True)
class Column:
    """A heading; ``unit_hint`` is the quiet line below it, ``kind`` (number or text) how it sorts and is set."""

    title: str
    unit_hint: str = ""
    kind: str = "number"


@dataclass
class Footnotes:
    """Reasons why values are missing, each once, numbered from 1 in the order of their first use."""

    prefix: str
    reasons: list[str] = field(default_factory=list)

    def cell(self, found: Unavailable) -> Cell:
        """A cell that says ``unavailable`` and leads to the reason."""
        if found.reason not in self.reasons:
            self.reasons.append(found.reason)
        return Cell("unavailable", note=self.reasons.index(found.reason) + 1)

    def number(self, found: Number, shown: str, *small: str) -> Cell:
        """A cell with ``shown``, or the footnote when there is no number."""
        if isinstance(found, Unavailable):
            return self.cell(found)
        return Cell(shown, tuple(line for line in small if line), sort=sortable(found))

    def quantity(self, found: Number, stored_unit: str, *small: str) -> Cell:
        """A cell with a value in the unit that fits."""
        return (
            self.cell(found)
            if isinstance(found, Unavailable)
            else self.number(found, quantity(found, stored_unit), *small)
        )


def latency(item: Measurement, notes: Footnotes) -> Cell:
    """Median over the sessions' medians, with its interval and the count of sessions."""
    median = number(item.record, "latency_ms", "median")
    if isinstance(median, Unavailable):
        return notes.cell(median)
    ends = interval(item.record, "latency_ms", "ci95")
    shown = f"95 %: {span(*ends, 'ms', like=median)}" if ends else "no interval"
    return notes.quantity(median, "ms", shown, sessions(item))


def sessions(item: Measurement) -> str:
    """``n = 5 sessions``; nothing when the medians were not recorded."""
    medians = value(item.record, "latency_ms", "sessions")
    return f"n = {counted(len(medians), 'session')}" if isinstance(medians, list | tuple) else ""


def to_reference(item: Measurement, notes: Footnotes) -> Cell:
    """Latency as a multiple of the reference setting's, with its interval."""
    found = number(item.record, "ratio_to_reference", "latency", "ratio")
    if isinstance(found, Unavailable):
        return notes.cell(found)
    ends = interval(item.record, "ratio_to_reference", "latency", "ci95")
    setting = value(item.record, "ratio_to_reference", "setting")
    if setting == item.setting:
        return Cell(times(1.0), ("the reference",), sort=sortable(found))
    return notes.number(found, times(found), f"95 %: {times_span(*ends)}" if ends else "no interval")


def peak_memory(item: Measurement, notes: Footnotes) -> Cell:
    """The kernel's high-water mark of the runner."""
    return notes.quantity(number(item.record, "peak_memory_kib"), "KiB")


def memory_over_weights(item: Measurement, notes: Footnotes) -> Cell:
    """Peak memory divided by the bytes of the weights."""
    weights = number(item.record, "weight_bytes")
    kib = weights if isinstance(weights, Unavailable) else weights / 1024
    found = ratio(number(item.record, "peak_memory_kib"), kib)
    if isinstance(found, Unavailable) or isinstance(kib, Unavailable):
        return notes.cell(
            found if isinstance(found, Unavailable) else Unavailable("the weights' size was not recorded")
        )
    return notes.number(found, times(found), f"of {quantity(kib, 'KiB')}")


def program_size(item: Measurement, notes: Footnotes) -> Cell:
    """Bytes of the exported program."""
    found = number(item.record, "program_bytes")
    return notes.cell(found) if isinstance(found, Unavailable) else notes.quantity(found / 1024, "KiB")


def energy(item: Measurement, notes: Footnotes) -> Cell:
    """Net energy of a step (idle power taken off), gross below; the gross one alone when idle is not known."""
    net, gross = (number(item.record, "energy_mj_per_step", part) for part in ("net", "gross"))
    short = "short window" if value(item.record, "energy_mj_per_step", "short") is True else ""
    if isinstance(net, float):
        below = f"gross {quantity(gross, 'mJ')}" if isinstance(gross, float) else ""
        return notes.quantity(net, "mJ", "net", below, short)
    if isinstance(gross, float):
        # Sorted with the missing ones: gross and net are not one scale.
        return Cell(
            quantity(gross, "mJ"), tuple(part for part in ("gross only", short) if part), note=notes.cell(net).note
        )
    return notes.cell(net)


def power(item: Measurement, notes: Footnotes) -> Cell:
    """Mean power over the measured steps, idle below."""
    idle = number(item.record, "power_mw", "idle")
    below = f"idle {quantity(idle, 'mW')}" if isinstance(idle, float) else ""
    return notes.quantity(number(item.record, "power_mw", "mean"), "mW", below)


def stability(item: Measurement, notes: Footnotes) -> Cell:
    """The score from 0 to 100, with the coefficient of variation it mostly rests on."""
    found, cv = number(item.record, "stability"), number(item.record, "latency_ms", "cv_percent")
    if isinstance(found, Unavailable):
        return notes.cell(found)
    below = f"CV {plain(cv, max(1, decimals(cv, 2)))}\u00a0%" if isinstance(cv, float) else ""
    return notes.number(found, f"{plain(found, 0)} / 100", below)


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
        (Column("Latency of a step", "median"), latency),
        (Column(f"Ratio to {reference}", "latency"), to_reference),
        (Column("Peak memory"), peak_memory),
        (Column("Memory over weights"), memory_over_weights),
        (Column("Program size"), program_size),
        (Column("Energy per step"), energy),
        (Column("Power", "mean"), power),
        (Column("Stability", "score"), stability),
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
    return Cell(f"{plain(first, decimals(first))} → {plain(last, decimals(last))}", sort=sortable(last))


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
