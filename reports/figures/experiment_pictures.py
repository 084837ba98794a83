"""The figure of an experiment's answer: lines, points with intervals, or bars, depending on the answer's data."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.unavailable import Json
from reports.figures.panels import Figure, Trace, axis, single
from reports.model.experiment import Curve, Picture
from reports.text.escaping import figure_text

_COLOURS = 8
_MOST_TICKS = 12
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")


def experiment_figure(name: str, picture: Picture) -> Figure:
    """Draws the picture; curves without a setting's colour get the next free one."""
    traces = [_trace(curve, number) for number, curve in enumerate(picture.curves)]
    layout = single(figure_text(picture.x_title), figure_text(picture.y_title))
    if picture.x_log:
        layout["xaxis"] = axis(figure_text(picture.x_title), type="log", **_ticks(picture.curves))
    if picture.y_log:
        layout["yaxis"] = axis(figure_text(picture.y_title), type="log")
    return Figure(name, picture.title, picture.caption, traces, layout)


def _ticks(curves: Sequence[Curve]) -> dict[str, Json]:
    """Returns ticks at the values themselves if they are few."""
    values = sorted({x for curve in curves for x in curve.x if isinstance(x, float)})
    return {"tickvals": values} if len(values) <= _MOST_TICKS else {}


def _trace(curve: Curve, number: int) -> Trace:
    place = number if curve.slot is None else curve.slot
    colour = f"var(--setting-{place % _COLOURS})"
    trace: Trace = {
        "type": "bar" if curve.look == "bars" else "scatter",
        "name": figure_text(curve.name, 40),
        "x": [figure_text(x) if isinstance(x, str) else x for x in curve.x],
        "y": list(curve.y),
        "marker": {"color": colour, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
    }
    if curve.look == "bars":
        trace["marker"] = {"color": colour}
    else:
        trace["mode"] = {"line": "lines+markers", "points": "markers", "dashes": "lines"}[curve.look]
        trace["line"] = {"color": colour, "width": 2, "dash": "dash" if curve.look == "dashes" else "solid"}
    if curve.low and curve.high:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - y for high, y in zip(curve.high, curve.y, strict=True)],
            "arrayminus": [y - low for low, y in zip(curve.low, curve.y, strict=True)],
            "color": "var(--text)" if curve.look == "bars" else colour,  # a bar would hide its lower half
            "thickness": 1,
        }
    if curve.words:
        trace["hovertext"] = [figure_text(words) for words in curve.words]
        trace["hovertemplate"] = "%{hovertext}<br>%{x}, %{y}<extra></extra>"
    return trace
