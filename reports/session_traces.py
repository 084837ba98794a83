"""What the figures of sessions have in common: the trace of a session, the legend of settings, panels, notes."""

from collections.abc import Iterable, Sequence
from typing import Any

from reports.escaping import figure_text, shortened
from reports.measured import devices_of, settings_of
from reports.numbers import counted, listed
from reports.palette import colour
from reports.panels import MOST_PANELS, legend_only, on_panel
from reports.traces import Line, SessionLines


def line_trace(line: SessionLines, x: Sequence[float], y: Sequence[float], panel: int) -> dict[str, Any]:
    item = line.measurement
    attempt = f", attempt {line.attempt}" if line.attempt != "1" else ""
    outcome = f" ({line.status})" if line.status != "ok" else ""
    named = [figure_text(f"{item.device} · {item.setting}"), figure_text(f"session {line.ordinal}{attempt}{outcome}")]
    return {
        "type": "scatter", "x": list(x), "y": list(y), "name": f"{named[0]}, {named[1]}", "meta": named,
        "opacity": 1 if line.status == "ok" else 0.4, "showlegend": False, "legendgroup": item.setting,
        **on_panel(panel),
    }  # fmt: skip


def setting_legend(lines: Sequence[SessionLines], mode: str) -> list[dict[str, Any]]:
    settings = settings_of([line.measurement for line in lines])
    return [
        legend_only(name, name, {"mode": mode, "line": {"color": colour(name)}, "marker": {"color": colour(name)}})
        for name in settings
    ]


def panel_devices(lines: Sequence[SessionLines]) -> tuple[list[str], list[str]]:
    """The devices that get a panel, and a note on those that don't."""
    devices = devices_of([line.measurement for line in lines])
    hidden = devices[MOST_PANELS:]
    names = listed([shortened(device) for device in hidden])
    note = f"{counted(len(hidden), 'further device')} not drawn here ({names}); the CSV files hold them."
    return devices[:MOST_PANELS], [note] if hidden else []


def thinned(lines: Iterable[Line]) -> list[str]:
    """A note when fewer points are drawn than were recorded."""
    counts = [(len(line.y), line.recorded) for line in lines]
    drawn, recorded = sum(count for count, _ in counts), sum(count for _, count in counts)
    if drawn == recorded:
        return []
    return [
        f"Thinned: {drawn:,} of {recorded:,} values are drawn. Each stretch keeps its lowest and highest value; "
        "the CSV files hold all."
    ]
