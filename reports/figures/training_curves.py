"""Curves of trainings: held-out accuracy and loss over seconds, steps, forward tokens or joules; and the Pareto front.

A line is a training. Trainings of the same method and setting look the same; with several seeds, lines are thin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foundation.unavailable import Json, Unavailable
from reports.figures.panels import MOST_PANELS, Figure, Layout, Trace, legend_only, on_panel, single, stacked
from reports.model.measurement import setting_of
from reports.model.race import Race
from reports.model.training import Evaluation, Training, contender_names
from reports.text.appearance import slot
from reports.text.escaping import figure_text, shorten
from reports.text.numbers import Unit, format_count, quantity, unit_for

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_COLOURS = 8
_POINTS = 120
"""The most points drawn of a training's losses."""
_BUTTONS_PX = 40


@dataclass(frozen=True)
class Look:
    """Colour slot and dash of a contender's lines."""

    slot: int
    dash: str

    @property
    def colour(self) -> str:
        """The colour as figures name it."""
        return f"var(--setting-{self.slot})"


def looks_of(trainings: Sequence[Training]) -> dict[str, Look]:
    """Returns the look of each contender by its name.

    Settings have their own colours, other differences their own dashes; if all have the same setting, the colours
    distinguish the contenders.
    """
    names = contender_names(trainings)
    setting = {names[one.training_id]: setting_of(one.workload) for one in trainings}
    if len(set(setting.values())) == 1 and len(setting) > 1:
        return {name: Look(place % _COLOURS, _DASHES[place // _COLOURS % 5]) for place, name in enumerate(setting)}
    drawn: dict[str, int] = {}
    looks = {}
    for name, quant in setting.items():
        place = drawn.get(quant, 0)
        looks[name] = Look(slot(quant), _DASHES[place % len(_DASHES)])
        drawn[quant] = place + 1
    return looks


@dataclass(frozen=True)
class _Axis:
    """A quantity that curves can be drawn over; `places` are the positions of each trace's points."""

    button: str
    title: str
    places: Sequence[Sequence[float | None]]


def accuracy_curves(trainings: Sequence[Training]) -> Figure:
    """Draws the accuracy at each evaluation, a panel for each device."""
    title = "Held-out accuracy"
    chosen, notes = _in_panels([one for one in trainings if one.evaluations])
    if not chosen:
        empty = "No training was evaluated. The table of trainings has the reason for each."
        return Figure("accuracy", title, "", empty=empty)
    layout = stacked(_panels(chosen), "", "held-out accuracy", from_zero=False)
    style = _Style(trainings, chosen)
    traces = style.legend()
    first = len(traces)
    for one in chosen:
        accuracies = [round(each.accuracy, 5) for each in one.evaluations]
        traces.append(style.marked(one) | {"y": accuracies, "text": [_at(one, each) for each in one.evaluations]})
    steps = [[each.step for each in one.evaluations] for one in chosen]
    _switch(layout, traces, first, [*_axes(chosen, steps), *_over_joules(chosen, steps)])
    caption = "Each line is a training; the first point is before any step. Upper left is better."
    if all(isinstance(one.energy_at(one.steps), Unavailable) for one in chosen):
        notes.append("No joules: the energy of these trainings is unavailable; their table says why.")
    return Figure("accuracy", title, caption, traces, layout, notes)


def loss_curves(trainings: Sequence[Training]) -> Figure:
    """Draws the losses of the steps, and the loss on held-out examples at each evaluation."""
    title = "Loss"
    chosen, notes = _in_panels([one for one in trainings if one.steps])
    if not chosen:
        return Figure("loss", title, "", empty="No step was made. The table of trainings has the reason for each.")
    layout = stacked(_panels(chosen), "", "loss", from_zero=False)
    style = _Style(trainings, chosen)
    traces = style.legend()
    first = len(traces)
    steps: list[list[int]] = []
    longest = 1
    for one in chosen:
        ends, means, most = _stretches([loss for segment in one.segments for _, loss in segment.curve])
        longest = max(longest, most)
        text = [f"step {end}: {mean:.4g} in training" for end, mean in zip(ends, means, strict=True)]
        held_out = [f"step {each.step}: {each.loss:.4g} on held-out examples" for each in one.evaluations]
        traces.append(style.line(one) | {"opacity": 0.45, "y": means, "text": text})
        traces.append(style.marked(one) | {"y": [round(each.loss, 5) for each in one.evaluations], "text": held_out})
        steps += [ends, [each.step for each in one.evaluations]]
    doubled = [one for one in chosen for _ in range(2)]
    _switch(layout, traces, first, _axes(doubled, steps))
    each = f"the mean of up to {format_count(longest, 'step')}" if longest > 1 else "a step's"
    caption = f"Pale: the training loss, each point {each}. With marks: the loss on held-out examples."
    return Figure("loss", title, caption, traces, layout, notes)


def _stretches(losses: Sequence[float]) -> tuple[list[int], list[float], int]:
    """Returns the last step of each stretch, counted from 1, its mean loss, and how many steps the longest has."""
    edges = np.linspace(0, len(losses), min(_POINTS, len(losses)) + 1).astype(int).tolist()
    means = [float(np.mean(losses[begin:end])) for begin, end in pairwise(edges)]
    longest = max(end - begin for begin, end in pairwise(edges))
    return edges[1:], [float(f"{mean:.6g}") for mean in means], longest


def _in_panels(trainings: Sequence[Training]) -> tuple[list[Training], list[str]]:
    """Returns the trainings on the devices that are drawn, and a note on the others."""
    devices = list(dict.fromkeys(one.device for one in trainings))
    more = len(devices) - MOST_PANELS
    notes = [f"{format_count(more, 'more device')} not drawn; trainings.json has all of them."] if more > 0 else []
    return [one for one in trainings if one.device in devices[:MOST_PANELS]], notes


def _panels(trainings: Sequence[Training]) -> list[str]:
    """Returns the heading of each panel."""
    marks = {one.device: " (emulated)" if one.emulated else "" for one in trainings}
    return [shorten(device, 34) + mark for device, mark in marks.items()]


class _Style:
    """The looks of all trainings of a page, whichever a figure draws."""

    def __init__(self, trainings: Sequence[Training], drawn: Sequence[Training]) -> None:
        self.looks, self.names = looks_of(trainings), contender_names(trainings)
        self.devices = list(dict.fromkeys(one.device for one in drawn))
        self.width = 1 if len({one.seed for one in trainings}) > 1 else 2
        self.drawn = drawn

    def legend(self) -> list[Trace]:
        """Returns an entry for each contender that is drawn."""
        return [
            legend_only(name, name, {"mode": "lines", "line": self._stroke(name, 2)})
            for name in dict.fromkeys(self.names[one.training_id] for one in self.drawn)
        ]

    def line(self, one: Training) -> Trace:
        """Returns a trace without points."""
        name = self.names[one.training_id]
        words = figure_text(f"{one.device} · {name} · seed {one.seed}{' (emulated)' if one.emulated else ''}", 90)
        return {
            "type": "scatter", "mode": "lines", "name": words, "meta": [words], "legendgroup": name,
            "showlegend": False, "opacity": 0.9, "line": self._stroke(name, self.width),
            "hovertemplate": "%{meta[0]}<br>%{text}<extra></extra>", **on_panel(self.devices.index(one.device)),
        }  # fmt: skip

    def marked(self, one: Training) -> Trace:
        """Returns a trace without points whose points will be marked."""
        colour = self.looks[self.names[one.training_id]].colour
        return self.line(one) | {"mode": "lines+markers", "marker": {"size": 5, "color": colour}}

    def _stroke(self, name: str, width: int) -> dict[str, Json]:
        look = self.looks[name]
        return {"color": look.colour, "dash": look.dash, "width": width, "shape": "linear"}


def _at(one: Training, evaluation: Evaluation) -> str:
    energy = one.energy_at(evaluation.step)
    joules = "" if isinstance(energy, Unavailable) else f", {quantity(energy, 'mJ')}"
    seconds = quantity(one.seconds_at(evaluation.step) * 1e3, "ms")
    return f"step {evaluation.step}: {evaluation.accuracy:.3f} of {evaluation.examples} right, {seconds}{joules}"


def _axes(trainings: Sequence[Training], steps: Sequence[Sequence[int]]) -> list[_Axis]:
    """Returns the axes that both figures have."""
    return [_over_seconds(trainings, steps), _over_steps(steps), *_over_tokens(trainings, steps)]


def _over_seconds(trainings: Sequence[Training], steps: Sequence[Sequence[int]]) -> _Axis:
    seconds = [_seconds(one, own) for one, own in zip(trainings, steps, strict=True)]
    unit = unit_for(1e3 * max((max(own, default=0.0) for own in seconds), default=0.0), "ms")
    title = f"{unit.name} of steps on the device"
    return _Axis("seconds", title, [_scaled(own, 1e3, unit) for own in seconds])


def _over_steps(steps: Sequence[Sequence[int]]) -> _Axis:
    return _Axis("steps", "steps", [[float(step) for step in own] for own in steps])


def _over_tokens(trainings: Sequence[Training], steps: Sequence[Sequence[int]]) -> list[_Axis]:
    """Returns the axis, or none if all steps cost the same: it would repeat the axis of steps."""
    costs = [one.forward_tokens for one in trainings]
    if len(set(map(str, costs))) < 2:
        return []
    places: list[list[float | None]] = [
        [None if isinstance(cost, Unavailable) else cost * step for step in own]
        for cost, own in zip(costs, steps, strict=True)
    ]
    return [_Axis("forward tokens", "forward tokens of steps, at full rows of T", places)]


def _over_joules(trainings: Sequence[Training], steps: Sequence[Sequence[int]]) -> list[_Axis]:
    """Returns the axis, or none if no energy is known."""
    joules = [
        [None if isinstance(found := one.energy_at(step), Unavailable) else found for step in own]
        for one, own in zip(trainings, steps, strict=True)
    ]
    known = [place for own in joules for place in own if place]
    if not known:
        return []
    unit = unit_for(max(known), "mJ")
    return [_Axis("joules", f"{unit.name} of steps", [_scaled(own, 1.0, unit) for own in joules])]


def _seconds(one: Training, steps: Sequence[int]) -> list[float]:
    """Returns the seconds after each number of steps; computed together, as a training may have a hundred thousand."""
    each = [seconds for segment in one.segments for seconds, _ in segment.curve]
    total = np.concatenate([[0.0], np.cumsum(each)])
    return [float(total[min(step, len(each))]) for step in steps]


def _scaled(places: Sequence[float | None], factor: float, unit: Unit) -> list[float | None]:
    return [None if place is None else float(f"{place * factor * unit.factor:.7g}") for place in places]


def _switch(layout: Layout, traces: list[Trace], first: int, axes: Sequence[_Axis]) -> None:
    """Draws the traces from `first` on over the first axis, with buttons for the others."""
    for trace, places in zip(traces[first:], axes[0].places, strict=True):
        trace["x"] = list(places)
    x_axes = [name for name in layout if name.startswith("xaxis")]
    for name in x_axes:
        layout[name]["rangemode"] = "tozero"
    last = x_axes[-1]
    layout[last]["title"] = layout[last]["title"] | {"text": axes[0].title}
    buttons: list[Json] = [
        {
            "label": axis.button, "method": "update",
            "args": [
                {"x": [list(places) for places in axis.places]},
                {f"{last}.title.text": axis.title, **{f"{name}.autorange": True for name in x_axes}},
                list(range(first, len(traces))),
            ],
        }
        for axis in axes
    ]  # fmt: skip
    layout["height"] += _BUTTONS_PX
    layout["margin"] = layout["margin"] | {"t": layout["margin"]["t"] + _BUTTONS_PX}
    layout["updatemenus"] = [
        {
            "type": "buttons", "direction": "right", "buttons": buttons, "active": 0, "showactive": True,
            "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "pad": {"b": 22, "t": 0}, "font": {"size": 11},
            "bgcolor": "var(--surface)", "bordercolor": "var(--line)",
        }
    ]  # fmt: skip


def pareto_front(race: Race, trainings: Sequence[Training], name: str) -> Figure:
    """Draws the accuracy over the cost of a race; filled marks are on the front. ``name`` is the figure's id."""
    title = f"Accuracy against cost and memory: {shorten(race.device)}{' (emulated)' if race.emulated else ''}"
    points = []
    for one in race.contenders:
        accuracy, cost, peak = one.outcome.accuracy, one.outcome.cost, one.outcome.peak_memory_kib
        if not isinstance(accuracy, Unavailable) and not isinstance(cost, Unavailable):
            points.append((one, accuracy, cost, peak))
    if not points:
        return Figure(name, title, "", empty="No training has finished, so there is nothing to draw yet.")
    stored, factor = ("ms", 1e3) if race.cost_quantity == "seconds" else ("mJ", 1.0)
    unit, looks = unit_for(max(cost for _, _, cost, _ in points) * factor, stored), looks_of(trainings)
    words = "time of all steps" if stored == "ms" else "energy of all steps"
    traces: list[Trace] = []
    for one, accuracy, cost, peak in points:
        memory = "peak memory unknown" if isinstance(peak, Unavailable) else quantity(peak, "KiB")
        label = figure_text(f"{one.name}, {memory}", 60)
        look = looks[one.name]
        symbol = "circle" if one.outcome.in_front else "circle-open"
        traces.append({
            "type": "scatter", "mode": "markers+text", "x": [_scaled([cost], factor, unit)[0]],
            "y": [round(accuracy, 5)], "name": label, "meta": [label], "text": [label], "textposition": "top center",
            "textfont": {"size": 11}, "showlegend": False, "cliponaxis": False,
            "marker": {"color": look.colour, "size": 13, "symbol": symbol, "line": {"width": 2, "color": look.colour}},
            "hovertemplate": f"%{{meta[0]}}<br>accuracy %{{y}}<br>%{{x}} {unit.name}<extra></extra>",
        })  # fmt: skip
    layout = single(f"{words}, {unit.name}", "held-out accuracy at the end")
    layout["yaxis"] |= {"rangemode": "normal"}
    accuracies = [accuracy for _, accuracy, _, _ in points]
    room = max(0.02, 0.25 * (max(accuracies) - min(accuracies)))
    layout["yaxis"]["range"] = [max(0.0, min(accuracies) - room), min(1.05, max(accuracies) + room)]
    layout["xaxis"]["range"] = [0, 1.25 * max(cost for _, _, cost, _ in points) * factor * unit.factor]
    caption = (
        "Upper left is better; each mark is labelled with its peak memory. Filled: no other has at least its accuracy "
        "for no more cost and memory (means over seeds)."
    )
    notes = [f"Over seconds, as energy is unavailable: {race.why_no_energy}."] if race.why_no_energy else []
    missing = len(race.contenders) - len(points)
    notes += [f"{format_count(missing, 'contender')} without a finished training not drawn."] if missing else []
    return Figure(name, title, caption, traces, layout, notes)
