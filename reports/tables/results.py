"""The two tables of a run's page that have a row per measurement: results, and the details behind them.

A cell has its text, its sort key and, if a value is missing, the reason.
"""

from collections.abc import Callable, Sequence

from foundation.unavailable import Unavailable
from reports.files import device_place
from reports.model.measurement import Measurement, workload_words
from reports.model.reading import Interval, Number, Odd
from reports.tables.sections import Grid, GridCell, GridRow, Head
from reports.text.appearance import badges, slot, status
from reports.text.escaping import file_name, shorten
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

LONGEST_REASON = 1500
"""Characters of a reason on a page; document.json has all of it."""


def sortable(found: float) -> str:
    """Formats a number with just enough digits to sort by."""
    return f"{found:.7g}"


def unavailable(found: Unavailable) -> GridCell:
    """Returns a cell that says ``unavailable``, with the reason below; it sorts last."""
    return GridCell("unavailable", (found.reason,))


def _number(found: Number, formatted: Callable[[float], str], *small: str) -> GridCell:
    """Returns a cell with the number as ``formatted`` renders it, or why there is none."""
    if isinstance(found, Unavailable):
        return unavailable(found)
    return GridCell(formatted(found), tuple(line for line in small if line), sort=sortable(found))


def _quantity(found: Number, stored_unit: str, *small: str) -> GridCell:
    """Returns a cell with a value in a fitting unit."""
    return _number(found, lambda known: quantity(known, stored_unit), *small)


def latency(item: Measurement) -> GridCell:
    """Returns the median of the sessions' medians, with its interval and the number of sessions."""
    return _quantity(item.latency.median_ms, "ms", latency_spread(item), session_count(item))


def latency_spread(item: Measurement) -> str:
    """Returns the interval of a latency, or the range of its sessions if they are too few for one."""
    median, ends, known = item.latency.median_ms, item.latency.ci95_ms, item.latency.range_ms
    if isinstance(median, Unavailable):
        return "no interval"
    if isinstance(ends, Interval):
        return f"95 %: {span(ends.low, ends.high, 'ms', like=median)}"
    if known is None or known[1] < 2:
        return "no interval"
    return f"range: {span(known[0].low, known[0].high, 'ms', like=median)}"


def session_count(item: Measurement) -> str:
    """Returns ``n = 5 sessions``, or nothing if the medians were not recorded."""
    medians = item.latency.sessions_ms
    return "" if isinstance(medians, Unavailable) else f"n = {format_count(len(medians), 'session')}"


def to_reference(item: Measurement) -> GridCell:
    """Returns latency as a multiple of the reference setting's, with its interval."""
    found, ends = item.ratio.latency, item.ratio.ci95
    if not isinstance(found, Unavailable) and item.ratio.setting == item.setting:
        return GridCell(times(1.0), ("the reference",), sort=sortable(found))
    if not isinstance(ends, Interval):
        return _number(found, times, "no interval")
    alike = "can't be told apart" if ends.low <= 1 <= ends.high else ""
    return _number(found, times, f"95 %: {times_span(ends.low, ends.high)}", alike)


def peak_memory(item: Measurement) -> GridCell:
    """Returns the kernel's high-water mark of the runner."""
    return _quantity(item.peak_memory_kib, "KiB")


def memory_over_weights(item: Measurement) -> GridCell:
    """Returns peak memory divided by the size of the weights."""
    peak, weights = item.peak_memory_kib, item.weight_bytes
    if isinstance(peak, Unavailable):
        return unavailable(peak)
    if isinstance(weights, Unavailable):
        return unavailable(weights)
    if weights <= 0:
        return unavailable(Unavailable("the value to divide by is 0"))
    kib = weights / 1024
    return _number(peak / kib, times, f"of {quantity(kib, 'KiB')}")


def program_size(item: Measurement) -> GridCell:
    """Returns the size of the exported program."""
    size = item.program_bytes
    return _quantity(size if isinstance(size, Unavailable) else size / 1024, "KiB")


def energy(item: Measurement) -> GridCell:
    """Returns the net energy of a step (without idle power), gross below; only gross if idle power is unknown."""
    net, gross = item.energy.net_mj, item.energy.gross_mj
    known = "" if isinstance(gross, Unavailable) else quantity(gross, "mJ")
    short = "short window" if item.energy.short is True else ""
    if known and isinstance(net, Unavailable):
        # Without a sort key it stays with the missing values: gross and net energy are not comparable.
        return GridCell(known, tuple(part for part in ("gross only", short, net.reason) if part))
    return _quantity(net, "mJ", "net", f"gross {known}" if known else "", short)


def power(item: Measurement) -> GridCell:
    """Returns mean power over the measured steps, idle power below."""
    idle = item.power.idle_mw
    return _quantity(item.power.mean_mw, "mW", "" if isinstance(idle, Unavailable) else f"idle {quantity(idle, 'mW')}")


def stability(item: Measurement) -> GridCell:
    """Returns the score from 0 to 100, with the coefficient of variation it is mostly based on."""
    cv = item.latency.cv_percent
    below = "" if isinstance(cv, Unavailable) else f"CV {plain(cv, max(1, decimals(cv, 2)))}\u00a0%"
    return _number(item.stability, lambda score: f"{plain(score, 0)} / 100", below)


_CellOf = Callable[[Measurement], GridCell]


def results(found: Sequence[Measurement], reference: str) -> Grid:
    """Builds the table of latency, memory, energy and so on of each measurement."""
    columns: list[tuple[Head, _CellOf]] = [
        (Head("Latency of a step", "median", "number"), latency),
        (Head(f"Ratio to {reference}", "latency", "number"), to_reference),
        (Head("Peak memory", kind="number"), peak_memory),
        (Head("Memory over weights", kind="number"), memory_over_weights),
        (Head("Program size", kind="number"), program_size),
        (Head("Energy per step", kind="number"), energy),
        (Head("Power", "mean", "number"), power),
        (Head("Stability", "score", "number"), stability),
    ]
    return _table("results", "Cost of a training step, device by setting", found, columns, with_status=True)


def details(found: Sequence[Measurement]) -> Grid:
    """Builds the table behind the results: load, spread, loss, temperature, how energy was measured."""
    columns: list[tuple[Head, _CellOf]] = [
        (
            Head("Slowest step", kind="number"),
            lambda item: _quantity(item.latency.max_ms, "ms", *_percentiles(item)),
        ),
        (Head("Load", "median", "number"), lambda item: _quantity(item.load_ms, "ms")),
        (Head("Memory after load", kind="number"), lambda item: _quantity(item.memory_after_load_kib, "KiB")),
        (Head("Cost of a step", "forward tokens", "number"), _forward_tokens),
        (Head("Loss", "first → last", "number"), _loss),
        (Head("Off the reference", "largest, relative", "number"), _off_reference),
        (Head("Temperature", "start → highest", "number"), _temperature),
        (Head("Throttled"), _throttled),
        (Head("Threads and CPUs"), _setup),
        (Head("How energy was measured"), _energy_method),
        (Head("Cost of the sampler", "of a step", "number"), _overhead),
    ]
    return _table("details", "Details behind the results", found, columns, with_status=False)


def reference_setting(found: Sequence[Measurement]) -> str:
    """Returns the setting that ratios refer to, or a generic word if none was recorded."""
    return next((name for item in found if isinstance(name := item.ratio.setting, str)), "the reference")


def _table(
    name: str, caption: str, found: Sequence[Measurement], columns: Sequence[tuple[Head, _CellOf]], with_status: bool
) -> Grid:
    """Builds a table with a row for each measurement; only the table with the status has permanent links."""
    several = len({workload_words(item.workload) for item in found}) > 1
    heads = (
        *(Head("Device", choices=True), Head("Setting", choices=True)),
        *((Head("Workload"),) if several else ()),
        *((Head("Status", kind="status", choices=True),) if with_status else ()),
        *(head for head, _ in columns),
    )
    rows = []
    for item in found:
        cells = [
            GridCell(item.device, href=device_place(item.device), badges=badges(item.emulated, item.origin)),
            GridCell(item.setting, slot=slot(item.setting)),
            *([GridCell(workload_words(item.workload))] if several else []),
            *([outcome_cell(item.status, item.reason or "")] if with_status else []),
            *(cell_of(item) for _, cell_of in columns),
        ]
        rows.append(GridRow(f"m-{file_name(item.measurement_id)}" if with_status else "", cells))
    return Grid(name, caption, heads, rows)


def outcome_cell(word: str, reason: str) -> GridCell:
    """Returns a cell with a status, its reason below."""
    found = status(word)
    return GridCell(word, (shorten(reason, LONGEST_REASON),) if reason else (), str(found.order), status=found)


def _percentiles(item: Measurement) -> list[str]:
    return [f"{name} {quantity(ms, 'ms')}" for name, ms in item.latency.percentiles_ms.items()]


def _loss(item: Measurement) -> GridCell:
    first, last = item.loss.first, item.loss.last
    if isinstance(first, Unavailable):
        return unavailable(first)
    start = plain(first, decimals(first))
    inputs = (("lr", item.loss.lr), ("eps", item.loss.eps))
    used = [f"{name} {found:g}" for name, found in inputs if not isinstance(found, Unavailable)]
    return _number(last, lambda end: f"{start} → {plain(end, decimals(end))}", ", ".join(used))


def _forward_tokens(item: Measurement) -> GridCell:
    return _number(item.forward_tokens, lambda tokens: plain(tokens, 0))


def _off_reference(item: Measurement) -> GridCell:
    steps = item.loss.reference_steps
    return _number(
        item.loss.max_relative_error, scientific, "" if isinstance(steps, Unavailable) else f"over {steps:.0f} steps"
    )


def _temperature(item: Measurement) -> GridCell:
    start = item.temperature.start_c
    before = "?" if isinstance(start, Unavailable) else plain(start, 1)
    return _number(item.temperature.max_c, lambda highest: f"{before} → {plain(highest, 1)}\u00a0°C")


def _throttled(item: Measurement) -> GridCell:
    found = item.throttled
    if isinstance(found, Odd):
        return GridCell(found.recorded, sort=found.recorded)
    if isinstance(found, Unavailable):
        return unavailable(found)
    return GridCell("yes" if found else "no", sort=str(found))


def _setup(item: Measurement) -> GridCell:
    """Returns threads, with the allowed CPUs, the power mode and the runner's kernels below, if known."""
    threads, cpus, mode = item.setup.threads, item.setup.cpus, item.setup.power_mode
    if isinstance(threads, Unavailable):
        return unavailable(threads)
    small = [] if isinstance(cpus, Unavailable) else [f"CPUs {number_ranges(cpus)}"]
    small += [] if isinstance(mode, Unavailable) else [mode]
    small += [] if isinstance(item.setup.kernels, Unavailable) else [f"kernels {item.setup.kernels}"]
    return GridCell(format_count(int(threads), "thread"), tuple(small), sort=sortable(threads))


def _energy_method(item: Measurement) -> GridCell:
    method, rate, error = item.energy.method, item.energy.rate_hz, item.energy.alignment_error_ms
    if isinstance(method, Unavailable):
        return unavailable(method)
    small = [] if isinstance(rate, Unavailable) else [f"{plain(rate, decimals(rate))}\u00a0Hz"]
    small += [] if isinstance(error, Unavailable) else [f"aligned to {quantity(error, 'ms')}"]
    return GridCell(method, tuple(small), sort=method)


def _overhead(item: Measurement) -> GridCell:
    return _number(item.sampler_overhead_percent, lambda percent: f"{plain(percent, 2)}\u00a0%")
