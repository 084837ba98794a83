"""The look shared by all figures: panels one below the other (one per device), axes, legend, hover text.

Colours are variables of the style sheet; static/figures.js replaces them with the theme's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from foundation.unavailable import Json
from reports.text.escaping import figure_text, visible
from reports.text.numbers import parse_moment

Trace: TypeAlias = dict[str, Any]
"""A trace in plotly.js's format."""
Layout: TypeAlias = dict[str, Any]
"""A figure's layout, in the same format."""

PANEL_PX, TOP_PX, BOTTOM_PX, GAP_PX = 230, 64, 56, 74
# Nobody scrolls through more panels than this; the caption counts the others.
MOST_PANELS = 12


@dataclass(frozen=True)
class Figure:
    """A figure on a page; ``empty`` says why there is nothing to draw and what to do.

    ``name`` is its id on the page, ``caption`` says how to read it, ``notes`` say what is missing or was thinned.
    One of ``picks`` is drawn at a time; ``pick`` (Device, Metric) says what they are. ``of`` has for each trace the
    index of its pick, None if it belongs to all; ``layouts`` has the differences in layout of each pick.
    """

    name: str
    title: str
    caption: str
    traces: Sequence[Trace] = ()
    layout: Layout | None = None
    notes: Sequence[str] = ()
    empty: str = ""
    pick: str = ""
    picks: Sequence[str] = ()
    of: Sequence[int | None] = ()
    layouts: Sequence[Layout] = ()

    @property
    def json(self) -> dict[str, Json]:
        """The figure in plotly's format."""
        return {"data": list(self.traces), "layout": self.layout or {}}

    @property
    def data(self) -> dict[str, Json]:
        """What static/figures.js draws."""
        if not self.picks:
            return self.json
        picks: dict[str, Json] = {"pick": self.pick, "picks": [str(visible(name)) for name in self.picks]}
        return self.json | picks | {"of": list(self.of), "layouts": list(self.layouts)}

    @property
    def height_px(self) -> int:
        """The height reserved for the figure before it is drawn."""
        return int((self.layout or {}).get("height", 0))


def axis(title: str, **more: Any) -> dict[str, Json]:
    """Returns an axis with the page's lines and text colours."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "var(--grid)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--grid)",
        "automargin": True,
        **more,
    }


def single(x_title: str, y_title: str, height: int = 420) -> Layout:
    """Returns the layout of a figure with one panel."""
    return _base(height) | {"xaxis": axis(x_title, rangemode="tozero"), "yaxis": axis(y_title, rangemode="tozero")}


def over_time(moments: Sequence[str]) -> dict[str, Json]:
    """Returns the settings of an x axis of dates.

    A history shorter than a day gets half a day on either side: plotly would label milliseconds around a single point.
    """
    axis_of_dates: dict[str, Json] = {"type": "date", "rangemode": "normal"}
    known = sorted(moment for moment in map(parse_moment, moments) if moment is not None)
    if known and known[-1] - known[0] < timedelta(days=1):
        ends = (known[0] - timedelta(hours=12), known[-1] + timedelta(hours=12))
        axis_of_dates["range"] = [end.strftime("%Y-%m-%dT%H:%M:%S") for end in ends]
    return axis_of_dates


def stacked(devices: Sequence[str], x_title: str, y_title: str, *, from_zero: bool = True) -> Layout:
    """Returns the layout with one panel per device, the first on top, each with its name above it."""
    rangemode = "tozero" if from_zero else "normal"
    count = len(devices)
    inner = count * PANEL_PX + (count - 1) * GAP_PX
    layout = _base(inner + TOP_PX + BOTTOM_PX)
    names = []
    for index, device in enumerate(devices):
        top = 1 - index * (PANEL_PX + GAP_PX) / inner
        suffix = axis_suffix(index)
        layout[f"yaxis{suffix}"] = axis(
            y_title, domain=[max(0.0, top - PANEL_PX / inner), top], anchor=f"x{suffix}", rangemode=rangemode
        )
        layout[f"xaxis{suffix}"] = axis(x_title if index == count - 1 else "", anchor=f"y{suffix}", domain=[0, 1])
        names.append(_device_name(device, top))
    layout["annotations"] = names
    return layout


def axis_suffix(panel: int) -> str:
    """Returns the suffix of a panel's axes: panel 0 is ``x``, panel 1 is ``x2``."""
    return "" if panel == 0 else str(panel + 1)


def on_panel(panel: int) -> dict[str, str]:
    """Returns the axes of a trace in a panel."""
    return {"xaxis": f"x{axis_suffix(panel)}", "yaxis": f"y{axis_suffix(panel)}"}


def shaded(panel: int, begin: float, end: float) -> dict[str, Json]:
    """Returns a muted band across part of a panel's width."""
    suffix = axis_suffix(panel)
    return {
        "type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": "var(--shade)",
        "xref": f"x{suffix}", "x0": begin, "x1": end, "yref": f"y{suffix} domain", "y0": 0, "y1": 1,
    }  # fmt: skip


def label_inside(panel: int, x: float, words: str) -> dict[str, Json]:
    """Returns a small label at the top of a panel, ending at ``x``."""
    suffix = axis_suffix(panel)
    return {
        "text": words, "showarrow": False, "font": {"size": 11, "color": "var(--muted)"},
        "xref": f"x{suffix}", "x": x, "xanchor": "right", "yref": f"y{suffix} domain", "y": 1, "yanchor": "top",
    }  # fmt: skip


def legend_only(name: str, group: str, look: Trace, heading: str = "") -> Trace:
    """Returns a trace without points that adds one entry to the legend."""
    title = {"legendgrouptitle": {"text": heading}} if heading else {}
    return {
        "type": "scatter", "x": [None], "y": [None], "name": figure_text(name, 28), "legendgroup": group,
        "showlegend": True, "hoverinfo": "skip", **look, **title,
    }  # fmt: skip


def _device_name(device: str, top: float) -> dict[str, Json]:
    return {
        "text": f"<b>{figure_text(device)}</b>", "showarrow": False, "font": {"size": 13},
        "xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": top, "yanchor": "bottom", "yshift": 4,
    }  # fmt: skip


def _base(height: int) -> dict[str, Json]:
    return {
        "height": height,
        "margin": {"l": 64, "r": 16, "t": TOP_PX, "b": BOTTOM_PX},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "var(--text)"},
        "hoverlabel": {"align": "left", "namelength": -1},
        "hovermode": "closest",
        "legend": {
            "orientation": "h", "tracegroupgap": 0,
            "x": 0, "xanchor": "left", "yref": "container", "y": 1, "yanchor": "top",
        },
    }  # fmt: skip
