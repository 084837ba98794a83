"""Two runs side by side: how they differ, the changes by kind and setting, then every metric of both.

Changes are drawn in percent, one metric at a time and the largest on top, with intervals and the band within which a
change doesn't count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import median

from foundation.unavailable import Json
from reports.figures.panels import Figure, Layout, Trace, legend_only, single
from reports.files import device_place, run_place
from reports.model.histories import Compared, ComparedMetric
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import LATENCY, least_change, metric_order, metric_title, metric_value
from reports.model.source import RunSummary
from reports.tables.pictures import Matrix, MatrixCell, MatrixRow, Value
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Picker, Section, table
from reports.tables.verdicts import OutcomeTable, outcome_counts
from reports.text.appearance import EMULATED, badges, colour, glossary, setting_order, slot, status
from reports.text.escaping import csv_table, csv_text, figure_text, file_name
from reports.text.numbers import decimals, format_count, percent_change, percent_span, plain, sort_key
from reports.text.numbers import moment_text as moment

COMPARISON_CSV = "comparison.csv"
COMPARISON_COLUMNS = (
    *("device", "setting", "workload", "metric", "direction", "emulated", "origin", "outcome", "before"),
    *("after", "ratio", "ratio_low", "ratio_high", "p", "sessions_before", "sessions_after", "sentence"),
)
_WORDS = ("worse", "better", "insufficient", "missing", "same")


def comparison_page(
    before: RunSummary,
    after: RunSummary,
    compared: Compared,
    runs: Sequence[RunSummary] = (),
    pages: Collection[str] = (),
) -> Page:
    """Builds the page that compares two runs.

    Others of ``runs`` can be picked; ``pages`` are the existing comparisons.
    """
    ordered = _TABLE.changed_first(compared.metrics)
    counts = Counter(one.outcome for one in ordered)
    lead = f"{before.run_id} ({moment(before.started_at)}) against {after.run_id} ({moment(after.started_at)})."
    return Page(
        title=f"{before.run_id} against {after.run_id}",
        heading="Two runs side by side",
        lead=lead,
        banner=_banner(counts),
        sections=(
            _differences(compared),
            _changes_section(compared.metrics),
            replace(_TABLE.section(ordered), prose=(f"{outcome_counts(counts, _WORDS)}.",) if counts else ()),
            _other_runs(before, after, runs, pages),
        ),
        trail=(Link("Runs", "index.html#runs"),),
        beside=(
            Link(f"Before: {before.run_id}", run_place(before.run_id)),
            Link(f"After: {after.run_id}", run_place(after.run_id)),
        ),
        files=((COMPARISON_CSV, "CSV: every metric of both runs"),),
        meanings=glossary(set(counts)),
        badges=tuple(
            f"{which} {word}"
            for which, run in (("before:", before), ("after:", after))
            for word in badges(False, run.origin)
        ),
    )


def comparison_csv(metrics: Sequence[ComparedMetric]) -> str:
    """Returns CSV with one row per metric at full precision; unknown values are empty."""
    rows = []
    for one in _TABLE.changed_first(metrics):
        named = (one.device, setting_of(one.workload), workload_words(one.workload), one.metric, one.direction)
        numbers = (one.before, one.after, one.ratio, one.low, one.high, one.p)
        row = [*(csv_text(part) for part in named), str(one.emulated).lower(), csv_text(one.origin), one.outcome]
        row += ["" if found is None else repr(found) for found in numbers]
        rows.append([*row, *one.sessions, csv_text(one.sentence)])
    return csv_table(COMPARISON_COLUMNS, rows)


def _banner(counts: Counter[str]) -> Banner:
    word = next((word for word in ("worse", "better", "same", "insufficient") if counts[word]), "missing")
    changed = outcome_counts({word: counts[word] for word in ("worse", "better")}, _WORDS)
    conclusive = sum(counts[word] for word in ("worse", "better", "same"))
    headline = (
        f"{changed or 'No change that counts'} among the {format_count(conclusive, 'number')} that can be judged."
    )
    if not conclusive:
        headline = f"None of {format_count(counts.total(), 'number')} can be judged: the table says why."
    if not counts:
        headline = "The two runs have no workload of the same device in common."
    caution = (
        "These numbers include whatever changed between the two runs, on the device too: they show a difference, not "
        "its cause. `suite nightly` finds the cause by measuring a suspect in turn with its baseline."
    )
    return Banner(status(word), headline, (), caution)


def _cells(one: ComparedMetric) -> tuple[GridCell, ...]:
    outcome, change = status(one.outcome), GridCell("\u2013")
    if one.ratio is not None:
        small = [percent_span(one.low, one.high)] if one.low is not None and one.high is not None else ["no interval"]
        change = GridCell(percent_change(one.ratio), small, f"{one.ratio:.7g}")
    p = GridCell("\u2013") if one.p is None else GridCell(plain(one.p, decimals(one.p, 2)), sort=f"{one.p:.7g}")
    return (
        GridCell(one.outcome, sort=str(outcome.order), status=outcome),
        _value(one.metric, one.before, one.sessions[0]),
        _value(one.metric, one.after, one.sessions[1]),
        change,
        p,
        GridCell(one.sentence),
    )


def _value(metric: str, found: float | None, sessions: int) -> GridCell:
    if found is None:
        return GridCell("\u2013")
    small = [f"n = {format_count(sessions, 'session')}"] if sessions else []
    return GridCell(metric_value(metric, found), small, f"{found:.7g}")


def _anchor(one: ComparedMetric) -> str:
    named = f"{one.device} {setting_of(one.workload)} {workload_words(one.workload)} {one.metric}"
    return f"c-{file_name(named)}"


_TABLE: OutcomeTable[ComparedMetric] = OutcomeTable(
    name="metrics",
    title="Metrics",
    caption="Every metric, changes first",
    words=_WORDS,
    outcome=lambda one: one.outcome,
    anchor=_anchor,
    heads=(
        *(Head("Outcome", kind="status", choices=True), Head("Before", kind="number"), Head("After", kind="number")),
        *(
            Head("Change", "95 % interval", "number", beside=True),
            Head("p", kind="number"),
            Head("In words", wide=True),
        ),
    ),
    cells=_cells,
    links=lambda one: (device_place(one.device), ""),
    marks=lambda one: badges(one.emulated, one.origin),
    empty=(
        "There is nothing to compare: choose two runs of the same workload on the same device; `suite history --runs` "
        "lists the runs."
    ),
)


def _changes_section(metrics: Sequence[ComparedMetric]) -> Section:
    matrix = _changes_by_kind(metrics)
    return Section("changes-of", "How much", matrices=(matrix,) if matrix else (), figures=(forest(metrics),))


def _other_runs(before: RunSummary, after: RunSummary, runs: Sequence[RunSummary], pages: Collection[str]) -> Section:
    newest = sorted(runs, key=lambda run: sort_key(run.started_at), reverse=True)
    options = tuple((run.run_id, moment(run.started_at), file_name(run.run_id)) for run in newest)
    picker = Picker(before.run_id, after.run_id, options, tuple(sorted(pages)))
    return Section("other-runs", "Other runs", picker=picker if len(options) > 1 else None, empty=_NO_OTHERS)


_NO_OTHERS = "There are no other runs: `suite compare A B` compares any two."


def _differences(compared: Compared) -> Section:
    """Lists what else differs, with one row for all devices it applies to."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, before, after in compared.differences:
        where, _, what = name.rpartition(": ")
        found.setdefault((what, before, after), []).append(where)
    rows = [
        GridRow(
            f"o-{place}", (GridCell(what), GridCell(before or "\u2013"), GridCell(after or "\u2013"), _where(names))
        )
        for place, ((what, before, after), names) in enumerate(found.items())
    ]
    heads = (Head("What"), Head("Before", wide=True), Head("After", wide=True), Head("Where", wide=True))
    empty = "Versions, devices and firmware are recorded as the same for both runs."
    caption = "Environment and devices of the two runs"
    return table("differences", "What else differs", caption, heads, rows, empty=empty)


def _where(names: Sequence[str]) -> GridCell:
    if names == [""]:
        return GridCell("the host")
    return GridCell(names[0]) if len(names) == 1 else GridCell(f"{len(names)} devices", tuple(names))


_LINES = (("ms", LATENCY), ("MiB", "peak_memory_kib"), ("J", "energy_net_mj_per_step"))


def _changes_by_kind(metrics: Sequence[ComparedMetric]) -> Matrix | None:
    """Returns the median change of each setting on each kind of device, and how many got worse or better."""
    changes = [one for one in metrics if one.ratio is not None and one.metric in {metric for _, metric in _LINES}]
    settings = sorted({setting_of(one.workload) for one in changes}, key=setting_order)
    kinds = dict.fromkeys(_kind(one) for one in changes)
    rows = []
    for kind in kinds:
        own = [one for one in changes if _kind(one) == kind]
        cells = [_change_cell([one for one in own if setting_of(one.workload) == name]) for name in settings]
        rows.append(MatrixRow(kind, format_count(len({one.device for one in own}), "device"), cells))
    caption = "Median change of latency (ms), peak memory (MiB) and net energy (J) of a step"
    return Matrix("changes-by-kind", caption, [(name, slot(name)) for name in settings], rows) if rows else None


def _kind(one: ComparedMetric) -> str:
    return f"{one.kind or one.device}{f' ({EMULATED})' if one.emulated else ''}"


def _change_cell(found: Sequence[ComparedMetric]) -> MatrixCell:
    values, counts = [], Counter(one.outcome for one in found)
    for unit, metric in _LINES:
        own = [one for one in found if one.metric == metric and one.ratio is not None]
        if not own:
            continue
        outcomes = Counter(one.outcome for one in own)
        more = outcomes["worse"] - outcomes["better"]
        tone = (
            "" if not outcomes["worse"] + outcomes["better"] else "bad" if more > 0 else "good" if more < 0 else "warn"
        )
        values.append(Value(f"{unit} {percent_change(median(one.ratio or 1.0 for one in own))}", tone=tone))
    note = ", ".join(f"{counts[word]} {word}" for word in _WORDS if counts[word])
    return MatrixCell(values, note or "not measured")


_MOST_DRAWN, _ROW_PX, _FRAME_PX = 40, 24, 130
_SYMBOLS = {"worse": "triangle-down", "better": "triangle-up"}


def forest(compared: Sequence[ComparedMetric]) -> Figure:
    """Draws the changes of the metric that is picked; those that count come first."""
    title = "Changes by size"
    known = [one for one in compared if one.ratio is not None and one.ratio > 0]
    if not known:
        return Figure(
            "changes", title, "", empty="No workload has a number in both runs, so there is no change to draw."
        )
    changed = {one.metric for one in known if one.outcome in ("worse", "better")}
    metrics = sorted({one.metric for one in known}, key=lambda name: (name not in changed, metric_order(name)))
    settings = sorted({setting_of(one.workload) for one in known}, key=setting_order)
    traces: list[Trace] = [
        legend_only(name, name, {"mode": "markers", "marker": {"color": colour(name), "size": 9}}) for name in settings
    ]
    of: list[int | None] = [None] * len(traces)
    layouts = []
    for place, metric in enumerate(metrics):
        largest = sorted((one for one in known if one.metric == metric), key=_size, reverse=True)
        drawn = largest[:_MOST_DRAWN]
        traces += [_point(one, len(drawn) - row) for row, one in enumerate(drawn)]
        of += [place] * len(drawn)
        layouts.append(_layout(metric, drawn))
    caption = (
        "Each line is a workload on a device, the largest change on top; bars are 95 % intervals. Changes within the "
        "shaded band are too small to count."
    )
    titles = [metric_title(metric) for metric in metrics]
    hidden = len(known) - sum(place is not None for place in of)
    largest_words = f"The {_MOST_DRAWN} largest changes of each metric are drawn; the table has the other {hidden:,}."
    notes = [largest_words] if hidden else []
    return Figure(
        "changes", title, caption, traces, single("change, %", "", layouts[0]["height"]), notes,
        pick="Metric", picks=titles, of=of, layouts=layouts,
    )  # fmt: skip


def _size(one: ComparedMetric) -> float:
    return abs(math.log(one.ratio or 1.0))


def _layout(metric: str, drawn: Sequence[ComparedMetric]) -> Layout:
    """Returns a metric's layout: the names of its rows, and the band."""
    height, least = _FRAME_PX + _ROW_PX * len(drawn), least_change(metric)
    layout = single("change, %", "", height)
    ends = [100 * (end - 1) for one in drawn for end in (one.ratio, one.low, one.high) if end is not None]
    reach = 1.1 * max(*map(abs, ends), 200 * least)
    layout["xaxis"] |= {"rangemode": "normal", "range": [-reach, reach], "ticksuffix": " %"}
    labels = [figure_text(f"{one.device} · {setting_of(one.workload)}", 28) for one in drawn]
    ticks = {"tickmode": "array", "tickvals": [len(drawn) - row for row in range(len(drawn))], "ticktext": labels}
    layout["yaxis"] |= ticks | {"rangemode": "normal", "range": [0.4, len(drawn) + 0.6]}
    upright: dict[str, Json] = {"yref": "paper", "y0": 0, "y1": 1}
    layout["shapes"] = [
        {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": "var(--band)", **upright,
         "x0": 100 * (1 / (1 + least) - 1), "x1": 100 * least},
        {"type": "line", "x0": 0, "x1": 0, **upright, "line": {"color": "var(--text)", "width": 1.2, "dash": "dash"}},
    ]  # fmt: skip
    return layout


def _point(one: ComparedMetric, y: int) -> Trace:
    shade, change = colour(setting_of(one.workload)), 100 * ((one.ratio or 1.0) - 1)
    bars: dict[str, Json] = {}
    if one.low is not None and one.high is not None:
        ends = [100 * (end - 1) for end in (one.low, one.high)]
        reach = {"array": [max(0.0, ends[1] - change)], "arrayminus": [max(0.0, change - ends[0])]}
        bars = {"error_x": {"type": "data", "symmetric": False, "thickness": 1.4, "color": shade, **reach}}
    name = figure_text(f"{one.device} · {setting_of(one.workload)} · {one.outcome}", 80)
    return {
        "type": "scatter", "mode": "markers", "x": [round(change, 3)], "y": [y], "name": name, "meta": [name],
        "showlegend": False, "marker": {"color": shade, "symbol": _SYMBOLS.get(one.outcome, "circle"), "size": 11},
        "hovertemplate": "%{meta[0]}<br>%{x} %<extra></extra>", **bars,
    }  # fmt: skip
