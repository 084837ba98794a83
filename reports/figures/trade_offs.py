"""Latency against other costs of a setting: one point per measurement, latency on the y axis.

A ring marks a measurement on the Pareto front of its device: no other is at least as good in latency, memory and energy
and better in one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Json, Unavailable
from reports.figures.panels import Figure, Trace, legend_only, single
from reports.model.measurement import Measurement, devices_of, settings_of, workload_words
from reports.model.reading import Interval, Number
from reports.text.appearance import colour, symbols
from reports.text.escaping import figure_text
from reports.text.numbers import Unit, format_count, unit_for

# With more devices the legend would be larger than the figure; their names appear at the points instead.
MOST_IN_LEGEND = 12


@dataclass(frozen=True)
class Cost:
    """A measurement's value on the x axis; ``kind`` says which kind of value it is, if there are several."""

    item: Measurement
    value: Number
    kind: str = ""


def latency_against_memory(found: Sequence[Measurement]) -> Figure:
    """Draws latency against peak memory; the size of a point is the energy of a step."""
    costs = [Cost(item, item.peak_memory_kib) for item in found]
    empty = "No measurement has both a latency and a peak memory. The table of results has the reason for each."
    figure = _against(
        "latency-memory", "Latency, memory and energy", costs, "KiB", ("peak memory", "at the peak"), empty
    )
    if figure.empty:
        return figure
    sized = " The larger the point, the more energy a step takes." if _largest_energy(found) else ""
    ring = " Ring: no other setting of the device costs less in one respect and no more in the others."
    return replace(figure, caption=figure.caption + sized + ring)


def _largest_energy(found: Sequence[Measurement]) -> float:
    return max(
        (float(known) for item in found if not isinstance(known := item.energy.net_mj, Unavailable)), default=0.0
    )


def on_front(item: Measurement, found: Sequence[Measurement]) -> bool:
    """Whether no other comparable measurement of the same device and workload is better in one of latency, memory and
    energy and at least as good in the others; energy counts if all have it."""
    words = workload_words(item.workload)
    rivals = [
        one for one in found if one.device == item.device and one.comparable and workload_words(one.workload) == words
    ]
    costs = [tuple(map(_cost, (one.latency.median_ms, one.peak_memory_kib, one.energy.net_mj))) for one in rivals]
    known = [place for place in range(3) if all(cost[place] is not None for cost in costs)]
    own = tuple(map(_cost, (item.latency.median_ms, item.peak_memory_kib, item.energy.net_mj)))
    if not item.comparable or not known:
        return False
    mine = [own[place] or 0.0 for place in known]
    others = [[cost[place] or 0.0 for place in known] for cost in costs]
    return not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in others)


def _cost(found: Number) -> float | None:
    return None if isinstance(found, Unavailable) else float(found)


def latency_against_energy(found: Sequence[Measurement]) -> Figure:
    """Draws latency against the energy of a step."""
    costs = [Cost(item, *step_energy(item)) for item in found]
    empty = (
        "No measurement has both a latency and an energy. `suite devices check` shows which power sensors a device "
        "offers; Jetson boards, a Raspberry Pi 5 and phones have one."
    )
    note = "Net energy, or gross where idle power is not known."
    words = ("energy of a step", "a step")
    return _against("latency-energy", "Latency against energy", costs, "mJ", words, empty, note)


def step_energy(item: Measurement) -> tuple[Number, str]:
    """Returns the net energy of a step, or the gross energy if idle power is unknown, and which of the two it is."""
    net = item.energy.net_mj
    return (item.energy.gross_mj, "gross only") if isinstance(net, Unavailable) else (net, "net")


def _against(
    name: str, title: str, costs: Sequence[Cost], stored_unit: str, words: tuple[str, str], empty: str, note: str = ""
) -> Figure:
    timed = [(cost, cost.value, cost.item.latency.median_ms) for cost in costs]
    whole = [
        (cost, x, ms) for cost, x, ms in timed if not isinstance(x, Unavailable) and not isinstance(ms, Unavailable)
    ]
    if not whole:
        return Figure(name, title, "", empty=empty)
    size, time = unit_for(max(x for _, x, _ in whole), stored_unit), unit_for(max(ms for *_, ms in whole), "ms")
    # Computed over all devices, drawn or not, so that a device has the same symbol in all figures of a page.
    symbol_of = symbols(devices_of([cost.item for cost in costs]))
    shapes = {device: symbol_of[device] for device in devices_of([cost.item for cost, *_ in whole])}
    traces = _legend([cost.item for cost, *_ in whole], shapes)
    items, axis, at = [cost.item for cost in costs], *words
    most = _largest_energy(items)
    for cost, x, ms in whole:
        hover = f"%{{meta[0]}}<br>%{{y}} {time.name} a step<br>%{{x}} {size.name} {at}<extra></extra>"
        point = _point(cost, round(x * size.factor, 4), ms, time, shapes[cost.item.device])
        marker = point["marker"] | _ring(cost.item, items) | _size(cost.item, most)
        point["marker"] = marker
        traces.append(point | {"hovertemplate": hover})
    caption = "Lower left is better. Colour is the setting, symbol the device; bars are 95 % intervals of the latency."
    notes = [note] if note else []
    if len(shapes) > MOST_IN_LEGEND:
        notes.append(f"{format_count(len(shapes), 'device')}: hover over a symbol for its name.")
    missing = len(costs) - len(whole)
    notes += [f"{format_count(missing, 'measurement')} without both values not drawn."] if missing else []
    return Figure(
        name, title, caption, traces, single(f"{axis}, {size.name}", f"latency of a step, {time.name}"), notes
    )


def _ring(item: Measurement, found: Sequence[Measurement]) -> dict[str, Json]:
    return {"line": {"color": "var(--text)", "width": 2.5 if on_front(item, found) else 0}}


def _size(item: Measurement, most: float) -> dict[str, Json]:
    """Returns a size whose area is proportional to the energy; a fixed size if the energy is unknown."""
    net = _cost(item.energy.net_mj)
    return {"size": 12} if net is None or most <= 0 else {"size": round(9 + 19 * (max(net, 0.0) / most) ** 0.5, 1)}


def _legend(found: list[Measurement], shapes: dict[str, str]) -> list[dict[str, Json]]:
    entries = [
        legend_only(setting, setting, {"mode": "markers", "marker": {"color": colour(setting), "size": 10}})
        for setting in settings_of(found)
    ]
    if len(shapes) <= MOST_IN_LEGEND:
        for place, (device, shape) in enumerate(shapes.items()):
            marker = {"color": "var(--muted)", "symbol": shape, "size": 10}
            entries.append(legend_only(device, f"device {place}", {"mode": "markers", "marker": marker}))
    return entries


def _point(cost: Cost, x: float, ms: float, time: Unit, shape: str) -> Trace:
    item, y = cost.item, ms * time.factor
    ends = item.latency.ci95_ms
    bars: dict[str, Json] = {}
    if isinstance(ends, Interval):
        low, high = ends.low * time.factor, ends.high * time.factor
        reach = {"array": [max(0.0, high - y)], "arrayminus": [max(0.0, y - low)]}
        bars["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1.2, "color": colour(item.setting), **reach
        }  # fmt: skip
    kind, emulated = f" ({cost.kind})" if cost.kind else "", " (emulated)" if item.emulated else ""
    name = figure_text(f"{item.device} · {item.setting}{kind}{emulated}", 90)
    return {
        "type": "scatter", "mode": "markers", "x": [x], "y": [round(y, 4)], "name": name, "meta": [name],
        "showlegend": False, "legendgroup": item.setting,
        "marker": {"color": colour(item.setting), "symbol": shape, "size": 12, "opacity": 0.5 if item.emulated else 1},
        **bars,
    }  # fmt: skip
