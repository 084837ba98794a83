"""Two runs side by side: every metric both have, as a ratio with its interval, and what else differs."""

from collections import Counter
from collections.abc import Sequence

from foundation.unavailable import Json
from reports.figures.panels import Figure, Trace, legend_only, single
from reports.files import device_place, run_place
from reports.model.histories import Compared, ComparedMetric
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import LATENCY, metric_value
from reports.model.source import RunSummary
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Section, table
from reports.tables.verdicts import OutcomeTable, outcome_counts
from reports.text.appearance import badges, colour, glossary, setting_order, status
from reports.text.escaping import csv_table, csv_text, figure_text, file_name
from reports.text.numbers import decimals, format_count, percent_change, percent_span, plain
from reports.text.numbers import moment_text as moment

COMPARISON_CSV = "comparison.csv"
COMPARISON_COLUMNS = (
    *("device", "setting", "workload", "metric", "direction", "emulated", "origin", "outcome", "before"),
    *("after", "ratio", "ratio_low", "ratio_high", "p", "sessions_before", "sessions_after", "sentence"),
)
_WORDS = ("worse", "better", "insufficient", "missing", "same")
_MOST_ROWS, _MOST_DRAWN = 150, 60


def comparison_page(before: RunSummary, after: RunSummary, compared: Compared) -> Page:
    """Builds the page that compares two runs."""
    ordered = _TABLE.changed_first(compared.metrics)
    counts = Counter(one.outcome for one in ordered)
    lead = f"{before.run_id} ({moment(before.started_at)}) against {after.run_id} ({moment(after.started_at)})."
    return Page(
        title=f"{before.run_id} against {after.run_id}",
        heading="Two runs side by side",
        lead=lead,
        banner=_banner(counts, compared),
        sections=(_TABLE.section(ordered), _figure_section(ordered), _differences(compared)),
        trail=(
            Link("All runs", "index.html#runs"),
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


def _banner(counts: Counter[str], compared: Compared) -> Banner:
    word = next((word for word in ("worse", "better", "same", "insufficient") if counts[word]), "missing")
    counted_words = outcome_counts(counts, _WORDS)
    headline = f"{counted_words}." if counted_words else "The two runs have no workload of the same device in common."
    caution = (
        "Whatever changed between the two runs, the device included, is in these numbers: they say whether it differs, "
        "not "
        "why. `suite nightly` measures a suspect in turn with its baseline, which does."
    )
    items = [(Link("Also not the same", ""), f"{len(compared.differences)}, see below")] if compared.differences else []
    return Banner(status(word), headline, tuple(items), caution)


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
    caption="Every metric, what changed first",
    things="rows",
    words=_WORDS,
    outcome=lambda one: one.outcome,
    anchor=_anchor,
    heads=(
        *(Head("Outcome", kind="status", choices=True), Head("Before", kind="number"), Head("After", kind="number")),
        *(Head("Change", "95 % interval", "number"), Head("p", kind="number"), Head("In words", wide=True)),
    ),
    cells=_cells,
    links=lambda one: (device_place(one.device), ""),
    marks=lambda one: badges(one.emulated, one.origin),
    file=COMPARISON_CSV,
    holds="holds all",
    empty=(
        "There is nothing to compare: choose two runs of the same workload on the same device; `suite history --runs` "
        "lists the runs."
    ),
)


def _figure_section(ordered: Sequence[ComparedMetric]) -> Section:
    return Section("figure", "Change of latency", figures=(_changes(ordered),))


def _changes(ordered: Sequence[ComparedMetric]) -> Figure:
    """Draws the ratio of every latency with its interval, one line each; 1 is no change."""
    title = "Latency, after over before"
    drawn = [one for one in ordered if one.metric == LATENCY and one.ratio is not None]
    if not drawn:
        return Figure(
            "changes", title, "", empty="No workload has a latency in both runs, so there is no change to draw."
        )
    more, drawn = len(drawn) - _MOST_DRAWN, drawn[:_MOST_DRAWN]
    settings = sorted({setting_of(one.workload) for one in drawn}, key=setting_order)
    traces: list[Trace] = [
        legend_only(setting, setting, {"mode": "markers", "marker": {"color": colour(setting), "size": 9}})
        for setting in settings
    ]
    labels = [figure_text(f"{one.device} · {setting_of(one.workload)}", 40) for one in drawn]
    for place, one in enumerate(drawn):
        traces.append(_change(one, len(drawn) - place))
    layout = single("after over before, 1 is no change", "", max(220, 120 + 26 * len(drawn)))
    layout["xaxis"] |= {"rangemode": "normal"}
    ticks = {"tickmode": "array", "tickvals": [len(drawn) - place for place in range(len(drawn))], "ticktext": labels}
    layout["yaxis"] |= ticks | {"rangemode": "normal", "range": [0.4, len(drawn) + 0.6]}
    line = {"color": "var(--text)", "width": 1.2, "dash": "dash"}
    layout["shapes"] = [{"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
    notes = [f"{format_count(more, 'further workload')} not drawn; {COMPARISON_CSV} holds all."] if more > 0 else []
    return Figure(
        "changes", title, "Bars are 95 % intervals. Left of the dashed line is faster.", traces, layout, notes
    )


def _change(one: ComparedMetric, y: int) -> dict[str, Json]:
    shade, ratio = colour(setting_of(one.workload)), one.ratio or 1.0
    bars: dict[str, Json] = {}
    if one.low is not None and one.high is not None:
        reach = {"array": [max(0.0, one.high - ratio)], "arrayminus": [max(0.0, ratio - one.low)]}
        bars = {"error_x": {"type": "data", "symmetric": False, "thickness": 1.4, "color": shade, **reach}}
    symbol = {"worse": "triangle-down", "better": "triangle-up"}.get(one.outcome, "circle")
    name = figure_text(f"{one.device} · {setting_of(one.workload)} · {one.outcome}", 80)
    return {
        "type": "scatter", "mode": "markers", "x": [round(ratio, 5)], "y": [y], "name": name, "meta": [name],
        "showlegend": False, "marker": {"color": shade, "symbol": symbol, "size": 11},
        "hovertemplate": "%{meta[0]}<br>%{x}<extra></extra>", **bars,
    }  # fmt: skip


def _differences(compared: Compared) -> Section:
    rows = [
        GridRow(f"o-{place}", (GridCell(name), GridCell(before or "\u2013"), GridCell(after or "\u2013")))
        for place, (name, before, after) in enumerate(compared.differences[:_MOST_ROWS])
    ]
    heads = (Head("What"), Head("Before", wide=True), Head("After", wide=True))
    left_out = (len(compared.differences) - len(rows), "further difference", "")
    title, caption = "What else is not the same", "Environment and devices of the two runs"
    empty = "Versions, devices and firmware were recorded alike for both runs."
    return table("differences", title, caption, heads, rows, empty=empty, left_out=left_out)
