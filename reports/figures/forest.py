"""Changes between two runs by their size in percent, with intervals and the band within which a change counts for none.

One metric is drawn at a time; the largest changes are on top.
"""

import math
from collections.abc import Sequence

from foundation.unavailable import Json
from reports.figures.panels import Figure, Layout, Trace, legend_only, single
from reports.model.histories import ComparedMetric
from reports.model.measurement import setting_of
from reports.model.quantities import least_change, metric_order, metric_title
from reports.text.appearance import colour, setting_order
from reports.text.escaping import figure_text

_MOST_DRAWN, _ROW_PX, _FRAME_PX = 40, 24, 130
_SYMBOLS = {"worse": "triangle-down", "better": "triangle-up"}


def forest(compared: Sequence[ComparedMetric]) -> Figure:
    """Draws the change of every metric, one of which is picked; those with a change that counts come first."""
    title = "Changes by their size"
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
        "Each line is a workload on a device, the largest change on top; bars are 95 % intervals. Within the shaded "
        "band a change is too small to count."
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
    """Returns the rows' names and the band of a metric."""
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
