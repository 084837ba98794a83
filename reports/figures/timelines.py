"""Memory and power over the time of each session, or why a device has no power readings."""

from collections.abc import Iterable, Sequence

from foundation.unavailable import Unavailable
from reports.figures.panels import MOST_PANELS, Figure, Trace, legend_only, on_panel, stacked
from reports.model.measurement import Measurement, devices_of, settings_of
from reports.model.quantities import MEMORY, POWER, SENSOR_QUANTITIES
from reports.model.traces import Line, SessionLines
from reports.text.appearance import colour
from reports.text.escaping import figure_text, shorten
from reports.text.numbers import Unit, format_count, format_list, unit_for


def line_trace(line: SessionLines, x: Sequence[float], y: Sequence[float], panel: int) -> Trace:
    item = line.measurement
    attempt = f", attempt {line.attempt}" if line.attempt != "1" else ""
    outcome = f" ({line.status})" if line.status != "ok" else ""
    named = [figure_text(f"{item.device} · {item.setting}"), figure_text(f"session {line.ordinal}{attempt}{outcome}")]
    return {
        "type": "scatter", "x": list(x), "y": list(y), "name": f"{named[0]}, {named[1]}", "meta": named,
        "opacity": 1 if line.status == "ok" else 0.4, "showlegend": False, "legendgroup": item.setting,
        **on_panel(panel),
    }  # fmt: skip


def setting_legend(lines: Sequence[SessionLines], mode: str) -> list[Trace]:
    settings = settings_of([line.measurement for line in lines])
    return [
        legend_only(name, name, {"mode": mode, "line": {"color": colour(name)}, "marker": {"color": colour(name)}})
        for name in settings
    ]


def panel_devices(lines: Sequence[SessionLines]) -> tuple[list[str], list[str]]:
    """Returns the devices that get a panel, and a note on the others."""
    devices = devices_of([line.measurement for line in lines])
    hidden = devices[MOST_PANELS:]
    names = format_list([shorten(device) for device in hidden])
    note = f"{format_count(len(hidden), 'further device')} not drawn here ({names}); the CSV files hold them."
    return devices[:MOST_PANELS], [note] if hidden else []


def thinned(lines: Iterable[Line]) -> list[str]:
    """Returns a note if fewer points are drawn than were recorded."""
    counts = [(len(line.y), line.recorded) for line in lines]
    drawn, recorded = sum(count for count, _ in counts), sum(count for _, count in counts)
    if drawn == recorded:
        return []
    return [
        f"Thinned: {drawn:,} of {recorded:,} values are drawn. Each stretch keeps its lowest and highest value; "
        "the CSV files hold all."
    ]


RESIDENT = "memory.rss"

_POWER_REMEDY = (
    "A Jetson's INA3221 rails, a Raspberry Pi 5's PMIC, a phone's battery gauge or an x86 host's RAPL counter "
    "(readable for root only, unless permitted) can be used: `suite devices check NAME` shows what a device offers, "
    "and inventory.yaml names its sensors."
)


def memory(lines: Sequence[SessionLines]) -> Figure:
    """Draws the runner's memory over the time of each session."""
    empty = (
        "No memory trace was recorded: the sampler was off, or no session started. The peak in the table comes from "
        "the kernel's own high-water mark and does not need the sampler; `suite devices check` shows the sensors."
    )
    caption = (
        "Resident memory of the runner from its launch on: loading, warm-up, measured steps. Each line is one session."
    )
    return _timeline("memory", "Memory over time", caption, MEMORY, lines, empty)


def power(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> Figure:
    """Draws power over the time of each session, or says for each device why there is none."""
    without = _without_power(found, lines)
    empty = f"No device of this run gave a power reading. {' '.join(without)} {_POWER_REMEDY}"
    caption = "Power at the device's own sensor. Energy per step is the integral of this over the measured steps."
    return _timeline("power", "Power over time", caption, POWER, lines, empty, without)


def _without_power(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> list[str]:
    having = {line.measurement.device for line in lines if any(trace.y for trace in line.sensors.get(POWER, []))}
    sentences = []
    for device in devices_of(found):
        if device in having:
            continue
        reasons = [_power_reason(item) for item in found if item.device == device]
        reason = next((reason for reason in reasons if reason), "no power sensor was sampled")
        sentences.append(f"{shorten(device)}: {reason.rstrip('.')}.")
    return sentences


def _power_reason(item: Measurement) -> str:
    for sensor in item.sensors:
        if sensor.quantity == POWER and sensor.unavailable:
            return sensor.unavailable
    mean = item.power.mean_mw
    return mean.reason if isinstance(mean, Unavailable) and item.status in ("ok", "unstable") else ""


def _timeline(
    name: str, title: str, caption: str, quantity: str, lines: Sequence[SessionLines], empty: str,
    notes: Sequence[str] = (),
) -> Figure:  # fmt: skip
    every = [(line, trace) for line in lines for trace in _of_interest(line, quantity) if trace.y]
    drawn = list({id(line): line for line, _ in every}.values())
    if not drawn:
        return Figure(name, title, "", empty=empty)
    unit = unit_for(max(max(trace.y) for _, trace in every), SENSOR_QUANTITIES[quantity].unit)
    devices, hidden = panel_devices(drawn)
    traces = setting_legend(drawn, "lines")
    traces += [
        _sensor_trace(line, trace, devices.index(line.measurement.device), unit)
        for line, trace in every
        if line.measurement.device in devices
    ]
    layout = stacked(devices, "seconds since the session began", f"{name}, {unit.name}")
    return Figure(name, title, caption, traces, layout, [*notes, *hidden, *thinned(trace for _, trace in every)])


def _of_interest(line: SessionLines, quantity: str) -> Sequence[Line]:
    """Returns the session's traces of a quantity; of the memory counters only resident memory, if it was sampled."""
    traces = line.sensors.get(quantity, [])
    return [trace for trace in traces if trace.name == RESIDENT] or traces


def _sensor_trace(line: SessionLines, trace: Line, panel: int, unit: Unit) -> Trace:
    drawn = line_trace(line, [round(x, 3) for x in trace.x], [round(y * unit.factor, 3) for y in trace.y], panel)
    drawn["meta"] = [*drawn["meta"], figure_text(trace.name)]
    template = f"%{{meta[0]}}<br>%{{meta[1]}}<br>%{{meta[2]}} at %{{x}} s: %{{y}} {unit.name}<extra></extra>"
    return drawn | {
        "mode": "lines",
        "line": {"color": colour(line.measurement.setting), "width": 1.4},
        "hovertemplate": template,
    }
