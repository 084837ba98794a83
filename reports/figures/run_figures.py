"""The figures of a run, as plotly traces and layouts: latency and losses by step, memory and power over time.

Settings have the same colour in every figure; one device, selected by the reader, is drawn at a time. Hover templates
contain no text from outside: names are passed through ``meta``, escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from foundation.unavailable import Unavailable
from reports.figures.panels import Figure, Layout, Trace, label_inside, legend_only, shaded, single
from reports.model.measurement import Measurement, devices_of, settings_of
from reports.model.quantities import MEMORY, OWN, POWER, sensor_quantity
from reports.model.traces import Line, SessionLines
from reports.text.appearance import colour
from reports.text.escaping import figure_text, shorten
from reports.text.numbers import Unit, format_list, unit_for

_HEIGHT_PX = 340


def all_figures(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> list[Figure]:
    """Returns the figures of a run in page order."""
    return [
        _step_latency(lines),
        memory(lines),
        power(found, lines),
        losses(found, lines),
        *own_sensors(lines),
    ]


def _step_latency(lines: Sequence[SessionLines]) -> Figure:
    """Draws the latency of every step, one line per session; the warm-up is shaded and has open points."""
    title = "Latency of every step, by session"
    drawn = [line for line in lines if line.steps.y]
    if not drawn:
        reason = "No session got as far as a step. The table of sessions says why; `suite run --resume` tries again."
        return Figure("step-latency", title, "", empty=reason)
    unit = unit_for(max(max(line.steps.y) for line in drawn), "ms")
    devices = _devices(drawn)
    legend = _setting_legend(drawn, "lines+markers")
    traces = [(line, trace) for line in drawn for trace in _step_traces(line, unit)]
    layout = single("step, counted from the first measured one", f"latency, {unit.name}", _HEIGHT_PX)
    layout["xaxis"] |= {"rangemode": "normal"}
    layouts = [_warm_up([line for line in drawn if line.measurement.device == device]) for device in devices]
    caption = (
        "Each line is one session (one launch of the program). Warm-up steps (shaded) don't count, nor do the "
        "sessions drawn faintly, whose status is not ok."
    )
    notes = _thinned(line.steps for line in drawn)
    return _of_devices(Figure("step-latency", title, caption, legend, layout, notes, layouts=layouts), devices, traces)


def _of_devices(bare: Figure, devices: Sequence[str], traces: Sequence[tuple[SessionLines, Trace]]) -> Figure:
    """Adds the traces of every device to a figure that already has a legend; the reader selects one device."""
    of = [*([None] * len(bare.traces)), *(devices.index(line.measurement.device) for line, _ in traces)]
    every = [*bare.traces, *(trace for _, trace in traces)]
    return replace(bare, traces=every, pick="Device", picks=devices, of=of)


def _warm_up(lines: Sequence[SessionLines]) -> Layout:
    """Returns the shade over a device's warm-up steps, which don't count."""
    earliest = min(min(line.steps.x) for line in lines)
    if earliest >= 0:
        return {"shapes": [], "annotations": []}
    return {"shapes": [shaded(0, earliest - 0.5, -0.5)], "annotations": [label_inside(0, -0.6, "warm-up")]}


def _step_traces(line: SessionLines, unit: Unit) -> list[Trace]:
    traces = []
    for warm_up in (True, False):
        points = [(x, y) for x, y in zip(line.steps.x, line.steps.y, strict=True) if (x < 0) is warm_up]
        if not points:
            continue
        shade = colour(line.measurement.setting)
        marker = {"color": shade, "size": 5, "symbol": "circle-open" if warm_up else "circle"}
        traces.append(
            _line_trace(line, [x for x, _ in points], [round(y * unit.factor, 4) for _, y in points])
            | {
                "mode": "lines+markers",
                "marker": marker,
                "line": {"color": shade, "width": 1, "dash": "dot" if warm_up else "solid"},
            }
            | {"hovertemplate": f"%{{meta[0]}}<br>%{{meta[1]}}<br>step %{{x}}: %{{y}} {unit.name}<extra></extra>"}
        )
    return traces


def losses(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> Figure:
    """Draws the mean loss of each step, one session per measurement, with the eager reference if it is known."""
    title = "Loss, against the reference"
    first: dict[str, SessionLines] = {}
    for line in sorted(lines, key=lambda line: line.status != "ok"):
        if line.losses.y:
            first.setdefault(line.measurement.measurement_id, line)
    if not first:
        reason = "No step reported a finite loss. The table of sessions gives the reason of each session that failed."
        return Figure("loss", title, "", empty=reason)
    drawn = [first[item.measurement_id] for item in found if item.measurement_id in first]
    devices, notes = _devices(drawn), list[str]()
    references = {line.measurement.measurement_id: _reference(line.measurement) for line in drawn}
    legend = _setting_legend(drawn, "lines")
    if any(references.values()):
        look = {"mode": "markers", "marker": {"symbol": "circle-open", "color": "var(--muted)", "size": 9}}
        legend.append(legend_only("eager reference", "reference", look))
    else:
        notes.append(
            "This run did not keep the reference's losses; the largest difference from them is in the table of details."
        )
    traces = [
        (line, trace) for line in drawn for trace in _loss_traces(line, references[line.measurement.measurement_id])
    ]
    caption = (
        "The same seed gives the same losses in every session, so only one session per setting is drawn. The "
        "reference is the eager model."
    )
    layout = single("step, warm-up included", "mean loss", _HEIGHT_PX)
    layout["yaxis"] |= {"rangemode": "normal"}
    notes += _thinned(line.losses for line in drawn)
    return _of_devices(Figure("loss", title, caption, legend, layout, notes), devices, traces)


def _loss_traces(line: SessionLines, reference: list[float]) -> list[Trace]:
    shade = colour(line.measurement.setting)
    template = "%{meta[0]}<br>%{meta[1]}<br>step %{x}: loss %{y}<extra></extra>"
    own = _line_trace(line, line.losses.x, [round(y, 6) for y in line.losses.y])
    traces = [own | {"mode": "lines", "line": {"color": shade, "width": 1.6}, "hovertemplate": template}]
    if reference:
        marks = {"symbol": "circle-open", "color": shade, "size": 8}
        named = {"meta": [own["meta"][0], "eager reference"], "legendgroup": "reference"}
        of_reference = _line_trace(line, list(range(len(reference))), [round(y, 6) for y in reference])
        traces.append(of_reference | named | {"mode": "markers", "marker": marks, "hovertemplate": template})
    return traces


def _reference(item: Measurement) -> list[float]:
    return [sum(step) / len(step) for step in item.reference_losses]


def _line_trace(line: SessionLines, x: Sequence[float], y: Sequence[float]) -> Trace:
    item = line.measurement
    attempt = f", attempt {line.attempt}" if line.attempt != "1" else ""
    outcome = f" ({line.status})" if line.status != "ok" else ""
    named = [figure_text(f"{item.device} · {item.setting}"), figure_text(f"session {line.ordinal}{attempt}{outcome}")]
    return {
        "type": "scatter", "x": list(x), "y": list(y), "name": f"{named[0]}, {named[1]}", "meta": named,
        "opacity": 1 if line.status == "ok" else 0.4, "showlegend": False, "legendgroup": item.setting,
    }  # fmt: skip


def _setting_legend(lines: Sequence[SessionLines], mode: str) -> list[Trace]:
    settings = settings_of([line.measurement for line in lines])
    return [
        legend_only(name, name, {"mode": mode, "line": {"color": colour(name)}, "marker": {"color": colour(name)}})
        for name in settings
    ]


def _devices(lines: Sequence[SessionLines]) -> list[str]:
    return devices_of([line.measurement for line in lines])


def _thinned(lines: Iterable[Line]) -> list[str]:
    """Returns a note if fewer points are drawn than were recorded."""
    counts = [(len(line.y), line.recorded) for line in lines]
    drawn, recorded = sum(count for count, _ in counts), sum(count for _, count in counts)
    if drawn == recorded:
        return []
    return [
        f"Thinned: {drawn:,} of {recorded:,} values are drawn. Each stretch keeps its lowest and highest value; the "
        "CSV files have all of them."
    ]


_RESIDENT = "memory.rss"

_POWER_REMEDY = (
    "Possible sensors are a Jetson's INA3221 rails, a Raspberry Pi 5's PMIC, a phone's battery gauge and an x86 "
    "host's RAPL counter (readable only by root, unless allowed): `suite devices check NAME` lists what a device "
    "offers, and inventory.yaml names its sensors."
)


def memory(lines: Sequence[SessionLines]) -> Figure:
    """Draws the runner's memory over the time of each session."""
    empty = (
        "No memory trace was recorded: the sampler was off, or no session started. The peak in the table is the "
        "kernel's own high-water mark and does not need the sampler; `suite devices check` lists the sensors."
    )
    caption = (
        "Resident memory of the runner since its launch: loading, warm-up, measured steps. Each line is one session."
    )
    return _timeline("memory", "Memory over time", caption, MEMORY, lines, empty)


def power(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> Figure:
    """Draws power over the time of each session, or states for each device why there is none."""
    without = _without_power(found, lines)
    empty = f"No device of this run gave a power reading. {' '.join(without)} {_POWER_REMEDY}"
    caption = "Power from the device's own sensor. Energy per step is its integral over the measured steps."
    return _timeline("power", "Power over time", caption, POWER, lines, empty, without)


def own_sensors(lines: Sequence[SessionLines]) -> list[Figure]:
    """Draws, over the time of each session, each quantity of the sensors that the inventory or a plugin defines."""
    quantities = sorted({each for line in lines for each in line.sensors if each.startswith(OWN)})
    return [_own_sensor(each, lines) for each in quantities]


def _own_sensor(quantity: str, lines: Sequence[SessionLines]) -> Figure:
    names = sorted({shorten(trace.name) for line in lines for trace in line.sensors.get(quantity, [])})
    title = f"{format_list(names)} over time"
    empty = "It gave no readings; the device's card says why."
    return _timeline(quantity, title, "A sensor of your own.", quantity, lines, empty)


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
    unit = unit_for(max(max(trace.y) for _, trace in every), sensor_quantity(quantity).unit)
    legend = _setting_legend(drawn, "lines")
    traces = [(line, _sensor_trace(line, trace, unit)) for line, trace in every]
    layout = single("seconds since the session began", f"{name.removeprefix(OWN)}, {unit.name}", _HEIGHT_PX)
    notes = [*notes, *_thinned(trace for _, trace in every)]
    return _of_devices(Figure(name, title, caption, legend, layout, notes), _devices(drawn), traces)


def _of_interest(line: SessionLines, quantity: str) -> Sequence[Line]:
    """Returns the session's traces of a quantity; for memory only resident memory, if it was sampled."""
    traces = line.sensors.get(quantity, [])
    return [trace for trace in traces if trace.name == _RESIDENT] or traces


def _sensor_trace(line: SessionLines, trace: Line, unit: Unit) -> Trace:
    drawn = _line_trace(line, [round(x, 3) for x in trace.x], [round(y * unit.factor, 3) for y in trace.y])
    drawn["meta"] = [*drawn["meta"], figure_text(trace.name)]
    template = f"%{{meta[0]}}<br>%{{meta[1]}}<br>%{{meta[2]}} at %{{x}} s: %{{y}} {unit.name}<extra></extra>"
    return drawn | {
        "mode": "lines",
        "line": {"color": colour(line.measurement.setting), "width": 1.4},
        "hovertemplate": template,
    }
