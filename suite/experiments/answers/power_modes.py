"""Which power mode makes a step the fastest, and in which it takes the least energy, from rounds of runs in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foundation.errors import UserError
from foundation.text import format_rounded
from foundation.unavailable import Unavailable
from reports.model.experiment import Answer, Cell, Curve, Evidence, Picture, interval_cells, table_of
from reports.model.reading import Interval
from reports.text.appearance import slot
from suite import stats
from suite.endurance.modes import ModesTaken, read_modes
from suite.experiments.experiment import Work
from suite.experiments.material import Material
from suite.experiments.own_work import made_of, power_modes
from suite.report_data.source import StoreSource

_PART = "modes"


@dataclass(frozen=True)
class ModeCost:
    """The cost of a step in a mode, by round: milliseconds, and millijoules of the whole device if they are known."""

    mode: str
    sets: str
    step_ms: Mapping[int, float]
    step_mj: Mapping[int, float]
    no_energy: str


def more_parts(material: Material) -> Mapping[str, Work]:
    """Returns the comparisons to make."""
    return power_modes(material, _PART)


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    missing: list[str] = []
    sentences, tables, curves = [], [], []
    for quant, made_id in made_of(material, _PART, device):
        try:
            taken = read_modes(made_id, material.home)
        except UserError as error:
            missing.append(f"{quant}: {error}")
            continue
        costs = [cost for name in taken.modes if (cost := _cost(material, taken, name)).step_ms]
        missing += [f"{quant}, {name}: {reason}" for name, reason in taken.refused.items()]
        if costs:
            sentences.append(_sentence(quant, taken, costs))
            tables.append(_table(quant, costs))
            curves.append(_curve(quant, costs))
            missing += _without_energy(quant, costs)
    if not sentences:
        return Answer("No power mode was measured, so the fastest can't be told.", missing=tuple(missing))
    joules = all(curve.look == "points" for curve in curves)
    axes = ("ms a step", "mJ a step") if joules else ("mode", "ms a step")
    picture = Picture("Steps by power mode", *axes, tuple(curves))
    return Answer("; ".join(sentences) + ".", picture, tuple(tables), tuple(dict.fromkeys(missing)))


def _cost(material: Material, taken: ModesTaken, mode: str) -> ModeCost:
    step_ms, step_mj, reasons = {}, {}, []
    for run in taken.runs:
        if run.mode != mode:
            continue
        for one in StoreSource(material.store).run(run.run_id).measurements:
            if isinstance(one.latency.median_ms, float):
                step_ms[run.round] = one.latency.median_ms
            energy = one.energy.gross_mj
            if isinstance(energy, Unavailable):
                reasons.append(energy.reason)
            else:
                step_mj[run.round] = float(energy)
    return ModeCost(mode, taken.modes[mode], step_ms, step_mj, next(iter(reasons), "not measured"))


def _sentence(quant: str, taken: ModesTaken, costs: Sequence[ModeCost]) -> str:
    which = "" if taken.named else " of its sets of cores (the inventory names no power modes)"
    fastest = _best(costs, lambda cost: cost.step_ms, f"fastest{which}", "ms")
    if not all(cost.step_mj for cost in costs):
        return f"for training in {quant}, {fastest}; which is the most frugal can't be told, as its power can't be read"
    return f"for training in {quant}, {fastest}; {_best(costs, lambda cost: cost.step_mj, 'most frugal', 'mJ')}"


def _best(costs: Sequence[ModeCost], of: Callable[[ModeCost], Mapping[int, float]], word: str, unit: str) -> str:
    """Returns the best mode, and the modes that it can't be told apart from."""
    ranked = sorted(costs, key=lambda cost: stats.median(list(of(cost).values())))
    best = ranked[0]
    level = f"{best.mode} is the {word} with {format_rounded(stats.median(list(of(best).values())))} {unit} a step"
    if len(ranked) == 1:
        return level + ", the only one that was measured"
    rivals, unknown = [], False
    for other in ranked[1:]:
        ratio = ratio_by_round(of(other), of(best))
        unknown = unknown or isinstance(ratio, Unavailable)
        if isinstance(ratio, Interval) and ratio.low <= 1:
            rivals.append(other.mode)
    second = f", {format_rounded(stats.median(list(of(ranked[1]).values())))} with {ranked[1].mode}"
    if unknown:
        return f"{level}{second} (a first look, from fewer than {stats.MIN_SESSIONS} rounds)"
    return f"{level}{second}" + (f", and can't be told apart from {', '.join(rivals)}" if rivals else "")


def ratio_by_round(values: Mapping[int, float], reference: Mapping[int, float]) -> Interval | Unavailable:
    """Returns the 95 % interval of the ratio of two modes: Student's t on the logarithms of each round's ratio.

    The two runs of a round are close in time, so drift between rounds does not change their ratio.
    """
    return stats.session_interval([values[turn] / reference[turn] for turn in sorted(values.keys() & reference.keys())])


def _table(quant: str, costs: Sequence[ModeCost]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for cost in costs:
        ms, mj = (stats.session_interval(list(each.values())) for each in (cost.step_ms, cost.step_mj))
        rows.append(
            {
                "mode": cost.mode,
                "sets": cost.sets,
                "rounds": len(cost.step_ms),
                "ms a step": stats.median(list(cost.step_ms.values())),
                **interval_cells(ms, "ms, "),
                "mJ a step": stats.median(list(cost.step_mj.values())) if cost.step_mj else None,
                **interval_cells(mj, "mJ, "),
            }
        )
    note = "Medians over rounds, 95 % intervals; energy is that of the whole device, including idle power."
    return table_of(f"Steps in {quant} by power mode", rows, note)


def _curve(quant: str, costs: Sequence[ModeCost]) -> Curve:
    names = tuple(cost.mode for cost in costs)
    ms = tuple(stats.median(list(cost.step_ms.values())) for cost in costs)
    if all(cost.step_mj for cost in costs):
        mj = tuple(stats.median(list(cost.step_mj.values())) for cost in costs)
        return Curve(f"{quant}, mJ", ms, mj, words=names, look="points", slot=slot(quant))
    return Curve(quant, names, ms, look="bars", slot=slot(quant))


def _without_energy(quant: str, costs: Sequence[ModeCost]) -> list[str]:
    return [f"{quant}, {cost.mode}, energy: {cost.no_energy}" for cost in costs if not cost.step_mj]
