"""The two tables of a run's page with a row per measurement: results, and the details behind them.

A cell has its text, what it sorts by, and the footnote that explains why a value is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement, workload_words
from reports.model.reading import Interval, Number, Odd
from reports.text.appearance import Status, badges, slot, status, worst_kept
from reports.text.escaping import file_name
from reports.text.numbers import (
    decimals,
    format_count,
    number_ranges,
    plain,
    quantity,
    scientific,
    span,
    times,
    times_span,
)


@dataclass(frozen=True)
class Cell:
    """``main`` is the value, ``small`` the lines below it; ``sort`` is empty without a value, which sorts last.

    ``note`` is the number of the footnote with the reason when there is no value.
    """

    main: str
    small: tuple[str, ...] = ()
    sort: str = ""
    note: int = 0


def sortable(found: float) -> str:
    """Formats a number with just enough digits to sort by."""
    return f"{found:.7g}"


@dataclass(frozen=True)
class Column:
    """A heading; ``unit_hint`` is the muted line below it, ``kind`` (number or text) how it sorts and is aligned."""

    title: str
    unit_hint: str = ""
    kind: str = "number"


@dataclass
class Footnotes:
    """Reasons why values are missing, each once, numbered from 1 in the order of their first use."""

    prefix: str
    reasons: list[str] = field(default_factory=list)

    def cell(self, found: Unavailable) -> Cell:
        """Returns a cell that says ``unavailable`` and refers to the reason."""
        if found.reason not in self.reasons:
            self.reasons.append(found.reason)
        return Cell("unavailable", note=self.reasons.index(found.reason) + 1)

    def number(self, found: Number, formatted: Callable[[float], str], *small: str) -> Cell:
        """Returns a cell with the number as ``formatted`` renders it, or a footnote if there is none."""
        if isinstance(found, Unavailable):
            return self.cell(found)
        return Cell(formatted(found), tuple(line for line in small if line), sort=sortable(found))

    def quantity(self, found: Number, stored_unit: str, *small: str) -> Cell:
        """Returns a cell with a value in the unit that fits."""
        return self.number(found, lambda known: quantity(known, stored_unit), *small)


def latency(item: Measurement, notes: Footnotes) -> Cell:
    """Returns the median of the sessions' medians, with its interval and the number of sessions."""
    return notes.quantity(item.latency.median_ms, "ms", latency_spread(item), session_count(item))


def latency_spread(item: Measurement) -> str:
    """Returns the interval of a latency, the range of its sessions where they are too few for one."""
    median, ends, known = item.latency.median_ms, item.latency.ci95_ms, item.latency.range_ms
    if isinstance(median, Unavailable):
        return "no interval"
    if isinstance(ends, Interval):
        return f"95 %: {span(ends.low, ends.high, 'ms', like=median)}"
    if known is None or known[1] < 2:
        return "no interval"
    return f"range: {span(known[0].low, known[0].high, 'ms', like=median)}"


def session_count(item: Measurement) -> str:
    """Returns ``n = 5 sessions``, nothing if the medians were not recorded."""
    medians = item.latency.sessions_ms
    return "" if isinstance(medians, Unavailable) else f"n = {format_count(len(medians), 'session')}"


def to_reference(item: Measurement, notes: Footnotes) -> Cell:
    """Returns latency as a multiple of the reference setting's, with its interval."""
    found, ends = item.ratio.latency, item.ratio.ci95
    if not isinstance(found, Unavailable) and item.ratio.setting == item.setting:
        return Cell(times(1.0), ("the reference",), sort=sortable(found))
    if not isinstance(ends, Interval):
        return notes.number(found, times, "no interval")
    alike = "can't be told apart" if ends.low <= 1 <= ends.high else ""
    return notes.number(found, times, f"95 %: {times_span(ends.low, ends.high)}", alike)


def peak_memory(item: Measurement, notes: Footnotes) -> Cell:
    """Returns the kernel's high-water mark of the runner."""
    return notes.quantity(item.peak_memory_kib, "KiB")


def memory_over_weights(item: Measurement, notes: Footnotes) -> Cell:
    """Returns peak memory divided by the size of the weights."""
    peak, weights = item.peak_memory_kib, item.weight_bytes
    if isinstance(peak, Unavailable):
        return notes.cell(peak)
    if isinstance(weights, Unavailable):
        return notes.cell(weights)
    if weights <= 0:
        return notes.cell(Unavailable("the value to divide by is 0"))
    kib = weights / 1024
    return notes.number(peak / kib, times, f"of {quantity(kib, 'KiB')}")


def program_size(item: Measurement, notes: Footnotes) -> Cell:
    """Returns the size of the exported program."""
    size = item.program_bytes
    return notes.quantity(size if isinstance(size, Unavailable) else size / 1024, "KiB")


def energy(item: Measurement, notes: Footnotes) -> Cell:
    """Returns the net energy of a step (without idle power), gross below; only gross if idle power is unknown."""
    net, gross = item.energy.net_mj, item.energy.gross_mj
    known = "" if isinstance(gross, Unavailable) else quantity(gross, "mJ")
    short = "short window" if item.energy.short is True else ""
    if known and isinstance(net, Unavailable):
        # Sorted with the missing values: gross and net energy are not comparable.
        return Cell(known, tuple(part for part in ("gross only", short) if part), note=notes.cell(net).note)
    return notes.quantity(net, "mJ", "net", f"gross {known}" if known else "", short)


def power(item: Measurement, notes: Footnotes) -> Cell:
    """Returns mean power over the measured steps, idle power below."""
    idle = item.power.idle_mw
    return notes.quantity(
        item.power.mean_mw, "mW", "" if isinstance(idle, Unavailable) else f"idle {quantity(idle, 'mW')}"
    )


def stability(item: Measurement, notes: Footnotes) -> Cell:
    """Returns the score from 0 to 100, with the coefficient of variation it is mostly based on."""
    cv = item.latency.cv_percent
    below = "" if isinstance(cv, Unavailable) else f"CV {plain(cv, max(1, decimals(cv, 2)))}\u00a0%"
    return notes.number(item.stability, lambda score: f"{plain(score, 0)} / 100", below)


# Keeps a page below 300 KB; rows left out are counted on the page and are in the CSV.
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
    """Builds the table of latency, memory, energy and so on of each measurement."""
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
    """Builds the table behind the results: load, spread, loss, temperature, how energy was read."""
    columns: list[tuple[Column, _CellOf]] = [
        (Column("Slowest step"), lambda item, notes: notes.quantity(item.latency.max_ms, "ms", *_percentiles(item))),
        (Column("Load", "median"), lambda item, notes: notes.quantity(item.load_ms, "ms")),
        (Column("Memory after load"), lambda item, notes: notes.quantity(item.memory_after_load_kib, "KiB")),
        (Column("Cost of a step", "forward tokens"), _forward_tokens),
        (Column("Loss", "first → last"), _loss),
        (Column("Off the reference", "largest, relative"), _off_reference),
        (Column("Temperature", "start → highest"), _temperature),
        (Column("Throttled", kind="text"), _throttled),
        (Column("Threads and CPUs", kind="text"), _setup),
        (Column("How energy was read", kind="text"), _energy_method),
        (Column("Sampler's cost", "of a step"), _overhead),
    ]
    return _table(found, columns, "d")


def reference_setting(found: Sequence[Measurement]) -> str:
    """Returns the setting that ratios refer to, a generic word if none was recorded."""
    return next((name for item in found if isinstance(name := item.ratio.setting, str)), "the reference")


def _table(found: Sequence[Measurement], columns: Sequence[tuple[Column, _CellOf]], prefix: str) -> Table:
    notes = Footnotes(prefix)
    several = len({workload_words(item.workload) for item in found}) > 1
    rows = [
        Row(
            anchor=f"m-{file_name(item.measurement_id)}",
            device=item.device,
            badges=badges(item.emulated, item.origin),
            setting=item.setting,
            slot=slot(item.setting),
            workload=workload_words(item.workload) if several else "",
            cells=[cell_of(item, notes) for _, cell_of in columns],
            status=status(item.status),
            reason=item.reason or "",
        )
        for item in worst_kept(found, [item.status for item in found], MOST_ROWS)
    ]
    return Table([column for column, _ in columns], rows, notes, several, max(0, len(found) - MOST_ROWS))


def _percentiles(item: Measurement) -> list[str]:
    return [f"{name} {quantity(ms, 'ms')}" for name, ms in item.latency.percentiles_ms.items()]


def _loss(item: Measurement, notes: Footnotes) -> Cell:
    first, last = item.loss.first, item.loss.last
    if isinstance(first, Unavailable):
        return notes.cell(first)
    start = plain(first, decimals(first))
    inputs = (("lr", item.loss.lr), ("eps", item.loss.eps))
    used = [f"{name} {found:g}" for name, found in inputs if not isinstance(found, Unavailable)]
    return notes.number(last, lambda end: f"{start} → {plain(end, decimals(end))}", ", ".join(used))


def _forward_tokens(item: Measurement, notes: Footnotes) -> Cell:
    return notes.number(item.forward_tokens, lambda tokens: plain(tokens, 0))


def _off_reference(item: Measurement, notes: Footnotes) -> Cell:
    steps = item.loss.reference_steps
    return notes.number(
        item.loss.max_relative_error, scientific, "" if isinstance(steps, Unavailable) else f"over {steps:.0f} steps"
    )


def _temperature(item: Measurement, notes: Footnotes) -> Cell:
    start = item.temperature.start_c
    before = "?" if isinstance(start, Unavailable) else plain(start, 1)
    return notes.number(item.temperature.max_c, lambda highest: f"{before} → {plain(highest, 1)}\u00a0°C")


def _throttled(item: Measurement, notes: Footnotes) -> Cell:
    found = item.throttled
    if isinstance(found, Odd):
        return Cell(found.recorded, sort=found.recorded)
    if isinstance(found, Unavailable):
        return notes.cell(found)
    return Cell("yes" if found else "no", sort=str(found))


def _setup(item: Measurement, notes: Footnotes) -> Cell:
    """Returns threads, below them the allowed CPUs and the power mode where they are known."""
    threads, cpus, mode = item.setup.threads, item.setup.cpus, item.setup.power_mode
    if isinstance(threads, Unavailable):
        return notes.cell(threads)
    small = [] if isinstance(cpus, Unavailable) else [f"CPUs {number_ranges(cpus)}"]
    small += [] if isinstance(mode, Unavailable) else [mode]
    return Cell(format_count(int(threads), "thread"), tuple(small), sort=sortable(threads))


def _energy_method(item: Measurement, notes: Footnotes) -> Cell:
    method, rate, error = item.energy.method, item.energy.rate_hz, item.energy.alignment_error_ms
    if isinstance(method, Unavailable):
        return notes.cell(method)
    small = [] if isinstance(rate, Unavailable) else [f"{plain(rate, decimals(rate))}\u00a0Hz"]
    small += [] if isinstance(error, Unavailable) else [f"aligned to {quantity(error, 'ms')}"]
    return Cell(method, tuple(small), sort=method)


def _overhead(item: Measurement, notes: Footnotes) -> Cell:
    return notes.number(item.sampler_overhead_percent, lambda percent: f"{plain(percent, 2)}\u00a0%")
