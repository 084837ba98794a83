"""The health of a device over its runs: temperature, throttling, battery, free space, and how measurements ended."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from reports.figures.panels import Figure, Trace, legend_only, over_time, single
from reports.files import run_place, series_place
from reports.model.histories import DeviceSummary, HealthPoint, HistorySummary
from reports.model.measurement import setting_of, workload_words
from reports.model.traces import kept
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Section, table
from reports.text.appearance import Status, badges, glossary, setting_order, slot, status
from reports.text.escaping import csv_table, csv_text, figure_text, file_name, shorten
from reports.text.numbers import format_count, format_list, parse_moment, plain, sort_key
from reports.text.numbers import moment_text as moment

HEALTH_CSV = "health.csv"
HEALTH_COLUMNS = (
    *("run_id", "at", "os_build", "temperature_start_c", "temperature_max_c", "throttled_measurements"),
    *("battery_percent", "free_mib", "outcomes", "checks"),
)
_MOST_POINTS, _HEIGHT_PX = 800, 300
_NO_BATTERY = (
    "No run recorded a battery's charge. It is read before each run if the device reports it, as phones and laptops "
    "do; boards and servers have no battery."
)
_NO_SPACE = "No run recorded the free space. The check before a run reads it: see `suite devices check`."
_NO_HEAT = (
    "No temperature was recorded. `suite devices check` shows the readable thermal zones; those named in "
    "inventory.yaml are sampled during a run."
)


def device_page(summary: DeviceSummary, health: Sequence[HealthPoint], histories: Sequence[HistorySummary]) -> Page:
    """Builds a device's page, with links to the series measured on it."""
    sections = (_figures(health), _histories(histories), _runs(health))
    build = next((point.os_build for point in reversed(health) if point.os_build), "")
    words = {word for point in health for word in point.outcomes}
    return Page(
        title=f"Device {summary.name}",
        heading=summary.name,
        lead=f"{summary.kind}; {format_count(len(health), 'run')}, the newest {moment(summary.last_at) or 'unknown'}"
        + (f"; {build}" if build else "")
        + ".",
        banner=_banner(summary, health),
        sections=sections,
        trail=(Link("Devices", "index.html#devices"),),
        files=((HEALTH_CSV, "CSV: the state of the device at every run"),),
        meanings=glossary(words),
        badges=badges(summary.emulated, summary.origin),
    )


def health_csv(health: Sequence[HealthPoint]) -> str:
    """Returns CSV with the device's state at every run, oldest first; unknown values are empty."""
    rows = []
    for point in health:
        numbers = (point.temperature_start_c, point.temperature_max_c, point.throttled, point.battery_percent)
        outcomes = " ".join(f"{word}={count}" for word, count in sorted(point.outcomes.items()))
        checks = "; ".join(f"{name} {word}: {detail}" for name, word, detail in point.checks)
        row = [csv_text(point.run_id), point.at, csv_text(point.os_build)]
        row += ["" if value is None else str(value) for value in (*numbers, point.free_mib)]
        rows.append([*row, csv_text(outcomes), csv_text(checks)])
    return csv_table(HEALTH_COLUMNS, rows)


def device_status(outcomes: Mapping[str, int], warnings: Sequence[str]) -> Status:
    """Returns the worst outcome of a device's last run, or a warning from its checks if all went well."""
    worst = min(
        (status(word) for word, count in outcomes.items() if count),
        key=lambda one: (one.tone == "quiet", one.order),
        default=None,
    )
    if worst is None:
        return status("not measured")
    return status("warning") if worst.tone in ("good", "quiet") and warnings else worst


def unreached_words(summary: DeviceSummary) -> str:
    """Formats since when a device can't be reached, and why."""
    return f"Not reached since {moment(summary.unreached_since)}: {summary.unreached.rstrip('.')}"


def outcome_words(outcomes: Mapping[str, int]) -> str:
    """Formats outcomes as ``3 ok and 1 unsupported``, the worst last."""
    ordered = sorted(
        ((word, count) for word, count in outcomes.items() if count), key=lambda pair: (-status(pair[0]).order, pair[0])
    )
    return format_list([f"{count} {word}" for word, count in ordered]) or "nothing measured"


def _banner(summary: DeviceSummary, health: Sequence[HealthPoint]) -> Banner:
    worst = device_status(summary.outcomes, summary.warnings)
    headline = f"Last run: {outcome_words(summary.outcomes)}."
    if summary.unreached:
        headline = f"{unreached_words(summary)}."
    throttled = sum(1 for point in health[-10:] if point.throttled)
    if throttled:
        headline += f" Throttled in {throttled} of the last {format_count(len(health[-10:]), 'run')}."
    items = [(Link("Last run", run_place(summary.last_run)), moment(summary.last_at))] if summary.last_run else []
    items += [(Link("Check", ""), warning) for warning in summary.warnings]
    cautions = ["This device is emulated: its numbers are never compared with those of a real one."]
    cautions = cautions if summary.emulated else []
    if summary.origin:
        cautions.append(
            f"It belongs to {shorten(summary.origin)}: imported measurements are displayed, but never judged here."
        )
    return Banner(worst, headline, tuple(items), " ".join(cautions))


def _figures(health: Sequence[HealthPoint]) -> Section:
    if not health:
        empty = "No run has reached this device yet. `suite devices check` says what is missing."
        return Section("health", "Health over time", empty=empty)
    heat = [
        ("highest in the run", "var(--bad)", "circle", lambda point: point.temperature_max_c),
        ("at the start", "var(--accent)", "circle-open", lambda point: point.temperature_start_c),
    ]  # fmt: skip
    figures = (
        _figure("temperature", "Temperature", "°C", health, heat, _NO_HEAT, throttled=True),
        _figure("throttling", "Throttled measurements", "", health,
                [("throttled", "var(--warn)", "triangle-down", lambda point: float(point.throttled))], _NO_HEAT),
        _figure("battery", "Battery", "%", health,
                [("charge", "var(--good)", "square", lambda point: point.battery_percent)], _NO_BATTERY),
        _figure("space", "Free space", "GiB", health,
                [("free", "var(--accent)", "diamond", lambda point: _gib(point.free_mib))], _NO_SPACE),
    )  # fmt: skip
    return Section("health", "Health over time", small=figures)


_Line = tuple[str, str, str, Callable[[HealthPoint], float | None]]


def _figure(
    name: str, title: str, unit: str, health: Sequence[HealthPoint], lines: Sequence[_Line], empty: str,
    throttled: bool = False,
) -> Figure:  # fmt: skip
    traces: list[Trace] = []
    notes: list[str] = []
    for label, shade, symbol, read in lines:
        points = [(point, value) for point in health if (value := read(point)) is not None]
        if not points:
            continue
        chosen = [points[place] for place in kept([value for _, value in points], _MOST_POINTS)]
        drawn = _with_gaps(chosen, health)
        if len(chosen) < len(points):
            thinned = (
                f"Thinned: {len(chosen):,} of {len(points):,} points of “{label}” are drawn, including the lowest and"
            )
            notes.append(f"{thinned} highest of each stretch; {HEALTH_CSV} has all of them.")
        traces.append(_trace(label, shade, symbol, unit, drawn))
    if not traces:
        return Figure(name, title, "", empty=empty)
    if throttled:
        hot = [(point, point.temperature_max_c) for point in health if point.throttled and point.temperature_max_c]
        traces += [_mark(hot)] if hot else []
    layout = single("", f"{title.lower()}, {unit}" if unit else "measurements", _HEIGHT_PX)
    layout["xaxis"] |= over_time([point.at for point in health])
    if not unit:  # counts
        most = max(y for trace in traces for y in trace["y"] if y is not None)
        layout["yaxis"] |= {"tickformat": "d", "dtick": max(1, -(-int(most) // 6)), "range": [0, max(1, most) * 1.1]}
    if unit == "%":
        layout["yaxis"] |= {"range": [0, 105]}
    return Figure(name, title, "One point per run; it leads to the run's page.", traces, layout, notes)


def _with_gaps(
    chosen: Sequence[tuple[HealthPoint, float]], health: Sequence[HealthPoint]
) -> list[tuple[HealthPoint, float | None]]:
    """Returns the points, with an empty one wherever the device was away or reported no value in between.

    A device counts as away if the time between two runs is more than twice the usual one.
    """
    moments = [moment for point in health if (moment := parse_moment(point.at)) is not None]
    usual = (
        median((after - before).total_seconds() for before, after in itertools.pairwise(moments)) if moments[1:] else 0
    )
    silent = {point.run_id for point in health} - {point.run_id for point, _ in chosen}
    thinned = len(chosen) >= _MOST_POINTS
    places = {point.run_id: place for place, point in enumerate(health)}
    found: list[tuple[HealthPoint, float | None]] = []
    for point, value in chosen:
        if found:
            last = found[-1][0]
            between = health[places[last.run_id] + 1 : places[point.run_id]]
            skipped = [one for one in between if one.run_id in silent] if not thinned else []
            if skipped or _seconds(last, point) > 2 * usual > 0:
                found.append((skipped[0] if skipped else last, None))
        found.append((point, value))
    return found


def _seconds(first: HealthPoint, second: HealthPoint) -> float:
    begin, end = parse_moment(first.at), parse_moment(second.at)
    return (end - begin).total_seconds() if begin and end else 0.0


def _trace(label: str, shade: str, symbol: str, unit: str, chosen: Sequence[tuple[HealthPoint, float | None]]) -> Trace:
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "showlegend": True,
        "x": [point.at for point, _ in chosen],
        "y": [None if value is None else float(f"{value:.6g}") for _, value in chosen],
        "connectgaps": False,
        "customdata": [run_place(point.run_id) for point, _ in chosen],
        "text": [figure_text(point.run_id) for point, _ in chosen],
        "line": {"color": shade, "width": 1}, "marker": {"color": shade, "symbol": symbol, "size": 6},
        "hovertemplate": f"%{{x|%Y-%m-%d %H:%M}}: %{{y}} {unit}<br>%{{text}}<extra>{label}</extra>",
    }  # fmt: skip


def _mark(hot: Sequence[tuple[HealthPoint, float]]) -> Trace:
    marker = {"color": "var(--warn)", "symbol": "triangle-down-open", "size": 14, "line": {"width": 2}}
    return legend_only("throttled", "throttled", {"mode": "markers", "marker": marker}) | {
        "x": [point.at for point, _ in hot],
        "y": [value for _, value in hot],
    }


def _gib(mib: float | None) -> float | None:
    return None if mib is None else mib / 1024


def _histories(histories: Sequence[HistorySummary]) -> Section:
    ordered = sorted(histories, key=lambda one: (workload_words(one.workload), setting_order(setting_of(one.workload))))
    rows = [
        GridRow(
            f"w-{file_name(one.workload_key)}",
            (
                GridCell(workload_words(one.workload), href=series_place(one.device, one.workload_key)),
                GridCell(setting_of(one.workload), slot=slot(setting_of(one.workload))),
                GridCell(f"{one.measurements:,}"),
            ),
        )
        for one in ordered
    ]
    heads = (Head("Workload"), Head("Setting", choices=True), Head("Measurements", kind="number"))
    caption = "Everything measured on this device, with its history"
    empty = "No measurement of this device has numbers yet. `suite run` makes them."
    return table("series", "Series", caption, heads, rows, empty=empty)


def _runs(health: Sequence[HealthPoint]) -> Section:
    newest = list(reversed(health))
    heads = (
        *(
            Head("Run", kind="run"),
            Head("When", kind="moment"),
            Head("Outcome", kind="status", choices=True),
            Head("Temperature", "start → highest", "number"),
        ),
        *(
            Head("Throttled", "measurements", "number"),
            Head("Battery", kind="number"),
            Head("Free space", kind="number"),
        ),
        *(Head("Checks that were not ok", wide=True), Head("OS build")),
    )
    rows, empty = [_run_row(point) for point in newest], "No run of this device is stored."
    return table("runs", "Runs", "The device at each run, newest first", heads, rows, empty=empty)


def _run_row(point: HealthPoint) -> GridRow:
    worst = device_status(point.outcomes, ())
    heat = GridCell("\u2013")
    if point.temperature_max_c is not None:
        start = "?" if point.temperature_start_c is None else plain(point.temperature_start_c, 1)
        both = f"{start} → {plain(point.temperature_max_c, 1)}\u00a0°C"
        heat = GridCell(both, sort=f"{point.temperature_max_c:.7g}")
    battery, free = point.battery_percent, _gib(point.free_mib)
    checks = [f"{name}: {detail}" for name, _, detail in point.checks]
    cells = (
        GridCell(point.run_id, href=run_place(point.run_id)),
        GridCell(moment(point.at), sort=sort_key(point.at)),
        GridCell(worst.word, (outcome_words(point.outcomes),), str(worst.order), status=worst),
        heat,
        GridCell(str(point.throttled)),
        GridCell("\u2013") if battery is None else GridCell(f"{plain(battery, 0)}\u00a0%", sort=f"{battery:.7g}"),
        GridCell("\u2013") if free is None else GridCell(f"{plain(free, 1)}\u00a0GiB", sort=f"{free:.7g}"),
        GridCell(checks[0] if checks else "none", checks[1:]),
        GridCell(point.os_build),
    )
    return GridRow(f"r-{file_name(point.run_id)}", cells)
