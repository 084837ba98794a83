"""The figures of a run, as plotly traces and layouts.

Colour distinguishes settings, panel or symbol distinguishes devices, in every figure the same way. Hover templates
contain no outside text: names are passed through ``meta``, escaped.
"""

from collections.abc import Sequence

from reports.figures.panels import Figure, Trace, label_inside, legend_only, shaded, stacked
from reports.figures.timelines import line_trace, memory, panel_devices, power, setting_legend, thinned
from reports.figures.trade_offs import latency_against_memory
from reports.model.measurement import Measurement
from reports.model.traces import SessionLines
from reports.text.appearance import colour
from reports.text.numbers import Unit, unit_for


def all_figures(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> list[Figure]:
    """Returns every figure of a run's page, in page order."""
    return [
        step_latency(lines),
        latency_against_memory(found),
        memory(lines),
        power(found, lines),
        losses(found, lines),
    ]


def step_latency(lines: Sequence[SessionLines]) -> Figure:
    """Draws the latency of every step, one line per session, the warm-up shaded and with open points."""
    title = "Latency of every step, by session"
    drawn = [line for line in lines if line.steps.y]
    if not drawn:
        reason = "No session got as far as a step. The table of sessions says why; `suite run --resume` tries again."
        return Figure("step-latency", title, "", empty=reason)
    unit = unit_for(max(max(line.steps.y) for line in drawn), "ms")
    devices, notes = panel_devices(drawn)
    layout = stacked(devices, "step, counted from the first measured one", f"latency, {unit.name}")
    layout["shapes"] = []
    traces = setting_legend(drawn, "lines+markers")
    for panel, device in enumerate(devices):
        of_device = [line for line in drawn if line.measurement.device == device]
        traces += [trace for line in of_device for trace in _step_traces(line, panel, unit)]
        earliest = min(min(line.steps.x) for line in of_device)
        if earliest < 0:
            layout["shapes"].append(shaded(panel, earliest - 0.5, -0.5))
            layout["annotations"].append(label_inside(panel, -0.6, "warm-up"))
    caption = (
        "Each line is one session (one launch of the program). Warm-up steps lie in the shaded part and are not "
        "counted; neither are the sessions drawn faintly, whose status is not ok."
    )
    return Figure("step-latency", title, caption, traces, layout, notes + thinned(line.steps for line in drawn))


def _step_traces(line: SessionLines, panel: int, unit: Unit) -> list[Trace]:
    traces = []
    for warm_up in (True, False):
        points = [(x, y) for x, y in zip(line.steps.x, line.steps.y, strict=True) if (x < 0) is warm_up]
        if not points:
            continue
        shade = colour(line.measurement.setting)
        marker = {"color": shade, "size": 5, "symbol": "circle-open" if warm_up else "circle"}
        traces.append(
            line_trace(line, [x for x, _ in points], [round(y * unit.factor, 4) for _, y in points], panel)
            | {
                "mode": "lines+markers",
                "marker": marker,
                "line": {"color": shade, "width": 1, "dash": "dot" if warm_up else "solid"},
            }
            | {"hovertemplate": f"%{{meta[0]}}<br>%{{meta[1]}}<br>step %{{x}}: %{{y}} {unit.name}<extra></extra>"}
        )
    return traces


def losses(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> Figure:
    """Draws the mean loss of each step, one session per measurement, with the eager reference where it is known."""
    title = "Loss, against the reference"
    first: dict[str, SessionLines] = {}
    for line in sorted(lines, key=lambda line: line.status != "ok"):
        if line.losses.y:
            first.setdefault(line.measurement.measurement_id, line)
    if not first:
        reason = "No step reported a finite loss. The table of sessions gives the reason of each session that failed."
        return Figure("loss", title, "", empty=reason)
    drawn = [first[item.measurement_id] for item in found if item.measurement_id in first]
    devices, notes = panel_devices(drawn)
    references = {line.measurement.measurement_id: _reference(line.measurement) for line in drawn}
    traces = setting_legend(drawn, "lines")
    if any(references.values()):
        look = {"mode": "markers", "marker": {"symbol": "circle-open", "color": "var(--muted)", "size": 9}}
        traces.append(legend_only("eager reference", "reference", look))
    else:
        notes.append(
            "The losses of the reference were not kept with this run; "
            "the largest difference from it is in the table of details."
        )
    for line in drawn:
        if line.measurement.device in devices:
            panel = devices.index(line.measurement.device)
            traces += _loss_traces(line, references[line.measurement.measurement_id], panel)
    caption = (
        "The same seed gives the same losses in every session, so one session per setting is drawn. "
        "The reference is the eager model."
    )
    layout = stacked(devices, "step, warm-up included", "mean loss", from_zero=False)
    return Figure("loss", title, caption, traces, layout, notes + thinned(line.losses for line in drawn))


def _loss_traces(line: SessionLines, reference: list[float], panel: int) -> list[Trace]:
    shade = colour(line.measurement.setting)
    template = "%{meta[0]}<br>%{meta[1]}<br>step %{x}: loss %{y}<extra></extra>"
    own = line_trace(line, line.losses.x, [round(y, 6) for y in line.losses.y], panel)
    traces = [own | {"mode": "lines", "line": {"color": shade, "width": 1.6}, "hovertemplate": template}]
    if reference:
        marks = {"symbol": "circle-open", "color": shade, "size": 8}
        named = {"meta": [own["meta"][0], "eager reference"], "legendgroup": "reference"}
        of_reference = line_trace(line, list(range(len(reference))), [round(y, 6) for y in reference], panel)
        traces.append(of_reference | named | {"mode": "markers", "marker": marks, "hovertemplate": template})
    return traces


def _reference(item: Measurement) -> list[float]:
    return [sum(step) / len(step) for step in item.reference_losses]
