"""A series over its runs: values with intervals, segments, change points, remarks; points link to their runs.

Labels of vertical lines are placed so that they neither cover one another nor leave the figure.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from foundation.unavailable import Json
from reports.figures.panels import Figure, Trace, label_inside, legend_only, over_time, single
from reports.files import run_place
from reports.model.histories import HistoryPoint, MetricHistory
from reports.model.quantities import least_change, metric_title, metric_unit
from reports.model.traces import kept
from reports.text.appearance import colour
from reports.text.escaping import figure_text, shorten
from reports.text.numbers import Unit, format_count, percent_change, sort_key

_FONT_PX, _ROW_PX, _ROWS = 11, 14, 4
# Fractions of a figure's width: one character on a common screen, and from where on labels extend to the left.
_CHARACTER, _TURN = 0.0085, 0.75


def place_labels(labels: Sequence[tuple[str, str]], ends: tuple[str, str], where: str) -> list[dict[str, Json]]:
    """Returns annotations for the (moment, words) in ``labels`` at the ``top`` or the ``bottom`` of a figure.

    ``ends`` are the first and the last moment drawn; all of them are ISO 8601 without an offset. A label that would
    cover an earlier one goes one row further in; beyond four rows, its words are only in the tables.
    """
    annotations = []
    free_from = [-1.0] * _ROWS
    for at, words in sorted(labels):
        share, text = _share(at, ends), figure_text(words, 40)
        width = _CHARACTER * (len(text) + 1)
        turned = share > _TURN
        left = share - width if turned else share
        row = next((row for row, free in enumerate(free_from) if free <= left), None)
        if row is None:
            continue
        free_from[row] = left + width
        annotations.append(_label(at, text, where, row, "right" if turned else "left"))
    return annotations


def _share(at: str, ends: tuple[str, str]) -> float:
    try:
        moment, first, last = (datetime.fromisoformat(iso) for iso in (at, *ends))
    except ValueError:
        return 0.0
    return (moment - first) / (last - first) if last > first else 0.0


def _label(at: str, text: str, where: str, row: int, side: str) -> dict[str, Json]:
    inwards = -1 if where == "top" else 1
    return label_inside(0, 0, text) | {
        "x": at, "y": 1 if where == "top" else 0, "yanchor": where, "xanchor": side, "yshift": inwards * row * _ROW_PX,
        "font": {"size": _FONT_PX, "color": "var(--text)"}, "bgcolor": "var(--surface)", "borderpad": 1, "opacity": 0.9,
    }  # fmt: skip


MOST_POINTS = 800
HOW_TO_READ = (
    "One point per run, linked to the run's page. Bars are 95 % intervals over the run's sessions, if there are "
    "enough. Points are compared only within a segment (each starts at a dotted line); dashed lines are change "
    "points, with the level on either side; ✎ is a remark. A night's value within the shaded band is like the nights "
    "before it, whose median is the line inside; diamonds are measurements in turn with the baseline, with their 95 % "
    "interval. A scale spans at least 5 %, as differences within 2.5 % never count as a change. The tables below say "
    "the same in words."
)
_HEIGHT_PX, _SMALL_PX = 420, 240
_LEAST_SPAN = 0.05
"""Share of the value: differences within 2.5 % to either side never count as a change (docs/regression.md)."""

_JUDGED = {"regressed": ("var(--bad)", "triangle-down"), "improved": ("var(--good)", "triangle-up")}
_JUDGED_QUIETLY = {"inconclusive": ("var(--warn)", "diamond-open")}


def trend(history: MetricHistory, setting: str, name: str, small: bool = False) -> Figure:
    """Draws one metric; ``name`` is the figure's id on the page. A small figure has no band, pairs or labels."""
    title = metric_title(history.metric)
    if not history.points:
        return Figure(name, title, "", empty="No run has this number yet; the tables of the runs say why.")
    places = drawn_places(history)
    points = [history.points[place] for place in places]
    unit = metric_unit(history.metric, max(point.value for point in points))
    traces = [_values(points, setting, unit), *_verdict_marks(points, unit)]
    traces += [] if small else [*_band(points, unit, history.metric), *_pairs(points, unit)]
    axis_title = unit.name if small else f"{title.lower()}, {unit.name}" if unit.name else title.lower()
    layout = single("", axis_title, _SMALL_PX if small else _HEIGHT_PX)
    layout["xaxis"] |= over_time([point.at for point in points])
    layout["shapes"], labels = _marks(history, unit)
    if small:
        layout |= {"showlegend": False, "margin": layout["margin"] | {"t": 16}}
        labels = _Labels((), ())
    layout["annotations"] = [*labels.top, *labels.bottom]
    layout["yaxis"] |= {"rangemode": "normal", "range": _range(points, unit, labels, not small)}
    counts = [format_count(len(history.points), "point"), format_count(len(history.segments), "segment")]
    caption = f"{', '.join(counts)}, {format_count(len(history.changes), 'change point')}."
    return Figure(name, title, caption, traces, layout, _notes(history, len(places)))


def drawn_places(history: MetricHistory) -> list[int]:
    """Returns the points to draw: of a long history only marked points and the extremes of each stretch."""
    points = history.points
    chosen = set(kept([point.value for point in points], MOST_POINTS).tolist())
    if len(chosen) < len(points):
        edges = [segment.start for segment in history.segments] + [change.at for change in history.changes]
        chosen |= {place for edge in edges for place in (edge - 1, edge) if 0 <= place < len(points)}
        chosen |= {place for place, point in enumerate(points) if point.verdict in _JUDGED}
    return sorted(chosen)


def _notes(history: MetricHistory, drawn: int) -> list[str]:
    notes = []
    if drawn < len(history.points):
        notes.append(
            f"Thinned: {drawn:,} of {len(history.points):,} points are drawn. Each stretch keeps its lowest and "
            "highest; points.csv has all of them."
        )
    notes += [
        f"{_day(remark.at)} {remark.author}, {remark.kind}: {shorten(remark.text, 140)}"
        for remark in history.remarks[-5:]
    ]
    more = len(history.remarks) - 5
    return notes + ([f"{format_count(more, 'earlier remark')} in the table below."] if more > 0 else [])


def _values(points: Sequence[HistoryPoint], setting: str, unit: Unit) -> Trace:
    shade = colour(setting)
    trace: Trace = {
        "type": "scatter", "mode": "lines+markers", "name": figure_text(setting), "showlegend": True,
        "x": [point.at for point in points], "y": [_scaled(point.value, unit) for point in points],
        "customdata": [run_place(point.run_id) for point in points],
        "text": [figure_text(_hover(point)) for point in points],
        "marker": {"color": shade, "size": 6}, "line": {"color": shade, "width": 1, "shape": "linear"}, "opacity": 0.9,
        "hovertemplate": f"%{{x|%Y-%m-%d %H:%M}}: %{{y}} {unit.name}<br>%{{text}}<extra></extra>",
    }  # fmt: skip
    if any(point.low is not None and point.high is not None for point in points):
        trace["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1, "width": 2, "color": shade,
            "array": [_reach(point.high, point.value, unit) for point in points],
            "arrayminus": [_reach(point.value, point.low, unit) for point in points],
        }  # fmt: skip
    return trace


def _hover(point: HistoryPoint) -> str:
    parts = [point.run_id, point.status]
    parts += [f"n = {format_count(point.sessions, 'session')}"] if point.sessions else []
    return shorten(" · ".join([*parts, *filter(None, (point.verdict, point.aside))]), 90)


def _reach(high: float | None, low: float | None, unit: Unit) -> float:
    return 0.0 if high is None or low is None else max(0.0, _scaled(high - low, unit))


def _band(points: Sequence[HistoryPoint], unit: Unit, metric: str) -> list[Trace]:
    """Returns the band in which a value is like the nights before it, and their median."""
    held = [(point, *_limits(point, metric)) for point in points if point.centre is not None]
    if not held:
        return []
    moments = [point.at for point, _, _ in held]
    look: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": moments,
        "legendgroup": "band",
        "hoverinfo": "skip",
        "zorder": -1,
    }
    edge: Trace = {"showlegend": False, "line": {"width": 0}}
    shade: Trace = {"fill": "tonexty", "fillcolor": "var(--band)", "name": "like the nights before", "showlegend": True}
    baseline: Trace = {"line": {"color": "var(--muted)", "width": 1, "dash": "dot"}, "showlegend": True}
    return [
        look | edge | {"y": [_scaled(low, unit) for _, low, _ in held], "name": "low"},
        look | edge | shade | {"y": [_scaled(high, unit) for _, _, high in held]},
        look | baseline | {"y": [_scaled(point.centre or 0.0, unit) for point, _, _ in held], "name": "their median"},
    ]


def _limits(point: HistoryPoint, metric: str) -> tuple[float, float]:
    """Returns the limits around a value's baseline within which a difference is noise or too small to count."""
    centre, margin = point.centre or 0.0, point.margin or 0.0
    least = 1 + least_change(metric)
    return min(centre - margin, centre / least), max(centre + margin, centre * least)


def _pairs(points: Sequence[HistoryPoint], unit: Unit) -> list[Trace]:
    """Returns the measurements in turn with the baseline: the baseline times the ratio, with its interval."""
    found = [(point, point.confirmed, point.centre) for point in points]
    known = [(point, pair, centre) for point, pair, centre in found if pair is not None and centre is not None]
    if not known:
        return []
    reach = {
        "array": [_scaled((pair.high - pair.ratio) * centre, unit) for _, pair, centre in known],
        "arrayminus": [_scaled((pair.ratio - pair.low) * centre, unit) for _, pair, centre in known],
    }
    words = [f"{percent_change(pair.ratio)} over {format_count(pair.pairs, 'pair')}" for _, pair, _ in known]
    shade = "var(--text)"
    return [
        {
            "type": "scatter", "mode": "markers", "name": "in turn with the baseline", "showlegend": True,
            "x": [point.at for point, _, _ in known], "text": words,
            "y": [_scaled(pair.ratio * centre, unit) for _, pair, centre in known],
            "marker": {"symbol": "diamond-open", "size": 10, "color": shade, "line": {"width": 2, "color": shade}},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": shade, **reach},
            "customdata": [run_place(point.run_id) for point, _, _ in known],
            "hovertemplate": "in turn with the baseline, %{x|%Y-%m-%d}: %{text}<extra></extra>",
        }
    ]  # fmt: skip


def _verdict_marks(points: Sequence[HistoryPoint], unit: Unit) -> list[Trace]:
    """Marks nights whose verdict is a change, by shape as well as colour."""
    traces: list[Trace] = []
    for word, (shade, symbol) in (_JUDGED | _JUDGED_QUIETLY).items():
        found = [point for point in points if point.verdict == word]
        if not found:
            continue
        marker = {"color": shade, "symbol": symbol, "size": 13, "line": {"width": 1.5, "color": shade}}
        traces.append(legend_only(word, word, {"mode": "markers", "marker": marker}))
        traces.append(
            {
                "type": "scatter", "mode": "markers", "showlegend": False, "legendgroup": word, "marker": marker,
                "x": [point.at for point in found], "y": [_scaled(point.value, unit) for point in found],
                "customdata": [run_place(point.run_id) for point in found],
                "hovertemplate": f"{word}, %{{x|%Y-%m-%d}}: %{{y}} {unit.name}<extra></extra>",
            }
        )  # fmt: skip
    return traces


@dataclass(frozen=True)
class _Labels:
    """Annotations at the top and at the bottom of a figure."""

    top: Sequence[dict[str, Json]]
    bottom: Sequence[dict[str, Json]]


def _range(points: Sequence[HistoryPoint], unit: Unit, labels: _Labels, with_pairs: bool) -> list[float]:
    """Returns the y range of all values and intervals, with room for the rows of labels above and below.

    It spans at least `_LEAST_SPAN`, so that noise too small to be judged does not fill the figure.
    """
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    for point in points if with_pairs else ():
        if point.confirmed is not None and point.centre is not None:
            ends += [point.confirmed.low * point.centre, point.confirmed.high * point.centre]
    low, high = _scaled(min(ends), unit), _scaled(max(ends), unit)
    span = max(high - low, _LEAST_SPAN * abs(high + low) / 2) or 1.0
    low, high = (low + high - span) / 2, (low + high + span) / 2
    below, above = (0.06 + 0.065 * len({one["yshift"] for one in part}) for part in (labels.bottom, labels.top))
    return [float(f"{low - span * below:.6g}"), float(f"{high + span * above:.6g}")]


def _marks(history: MetricHistory, unit: Unit) -> tuple[list[dict[str, Json]], _Labels]:
    """Returns lines at segments, change points and remarks, with their labels."""
    shapes: list[dict[str, Json]] = []
    top: list[tuple[str, str]] = []
    bottom: list[tuple[str, str]] = []
    for segment in history.segments[1:]:
        at = _between(history.points, segment.start)
        shapes.append(_upright(at, "var(--muted)", "dot"))
        bottom.append((at, segment.reason))
    for place, words in version_changes(history):
        at = _between(history.points, place)
        shapes.append(_upright(at, "var(--accent)", "dot"))
        bottom.append((at, words))
    for change in history.changes:
        at = _between(history.points, change.at)
        tone = "var(--bad)" if change.side == "worse" else "var(--good)"
        glyph = "▼" if change.side == "worse" else "▲"
        shapes += [_upright(at, tone, "dash"), *_levels(history, change.at, change.before, change.after, unit)]
        top.append((at, f"{glyph} {change.side} {percent_change(change.after / change.before)}"))
    for remark in history.remarks:
        shapes.append(_upright(sort_key(remark.at), "var(--accent)", "longdashdot"))
        top.append((sort_key(remark.at), "✎"))
    ends = (sort_key(history.points[0].at), sort_key(history.points[-1].at))
    return shapes, _Labels(place_labels(top, ends, "top"), place_labels(bottom, ends, "bottom"))


def version_changes(history: MetricHistory) -> list[tuple[int, str]]:
    """Returns where versions of the packages that made the programs changed, as (place, words)."""
    found = []
    for place, (before, now) in enumerate(itertools.pairwise(history.points), 1):
        names = [name for name in now.versions if before.versions.get(name, now.versions[name]) != now.versions[name]]
        words = [f"{name} {before.versions[name]} → {now.versions[name]}" for name in names]
        found += [(place, ", ".join(words))] if words else []
    return found


def _levels(history: MetricHistory, at: int, before: float, after: float, unit: Unit) -> list[dict[str, Json]]:
    """Returns the level on either side of a change, up to the next change or the end of the segment."""
    edges = sorted(
        {change.at for change in history.changes}
        | {edge for segment in history.segments for edge in (segment.start, segment.stop)}
        | {0, len(history.points)}
    )
    start = max(edge for edge in edges if edge < at)
    stop = min(edge for edge in edges if edge > at)
    points = history.points
    return [
        _level(points[start].at, points[at - 1].at, _scaled(before, unit)),
        _level(points[at].at, points[stop - 1].at, _scaled(after, unit)),
    ]


def _level(begin: str, end: str, y: float) -> dict[str, Json]:
    line: dict[str, Json] = {"color": "var(--text)", "width": 2}
    return {"type": "line", "layer": "above", "line": line, "opacity": 0.55, "x0": begin, "x1": end, "y0": y, "y1": y}


def _between(points: Sequence[HistoryPoint], at: int) -> str:
    """Returns the moment halfway between a point and the one before it."""
    begin, end = (sort_key(points[place].at) for place in (max(0, at - 1), at))
    try:
        first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
    except ValueError:
        return end
    return (first + (last - first) / 2).isoformat()


def _upright(at: str, shade: str, dash: str) -> dict[str, Json]:
    line: dict[str, Json] = {"color": shade, "width": 1.3, "dash": dash}
    return {"type": "line", "x0": at, "x1": at, "yref": "y domain", "y0": 0, "y1": 1, "line": line}


def _scaled(value: float, unit: Unit) -> float:
    return float(f"{value * unit.factor:.6g}")


def _day(at: str) -> str:
    return sort_key(at)[:10]
