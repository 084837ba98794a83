"""Computes who trains best on a device: Cost-to-Target, Quality-under-Budget, and the Pareto front.

The unit of evidence is the training of one seed. Costs are positive and vary by factors, so the mean over seeds is
geometric, with Student's interval on logarithms; for accuracies, Student's interval is on the values themselves. A
winner is named only if the intervals do not overlap. Every function is pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Unavailable
from reports.model.race import Budget, Contender, CostToTarget, Estimate, Outcome, Quality, Race
from reports.model.reading import Number
from reports.model.training import Evaluation, Training, contender_names
from suite.results.race_answers import (
    cost_sentence,
    estimate_accuracy,
    estimate_cost_of_seeds,
    quality_sentence,
    robustness_of,
)

_OVERRUN = 1.05
"""As many last steps are made under a budget as fit at the mean pace so far, and they may turn out a little slower."""


def races(trainings: Sequence[Training]) -> list[Race]:
    """Returns the race of each device on which there is more than one way of training."""
    found = []
    quiet = [one for one in trainings if not one.disturbed]
    names = contender_names(quiet)
    for device in dict.fromkeys(one.device for one in quiet):
        here = [one for one in quiet if one.device == device]
        if len({names[one.training_id] for one in here}) > 1:
            disturbed = [one for one in trainings if one.disturbed and one.device == device]
            found.append(race(here, names, disturbed))
    return found


def race(trainings: Sequence[Training], names: Mapping[str, str], disturbed: Sequence[Training] = ()) -> Race:
    """Compares the trainings of one device. `names` are their contenders; target and budget come from their plans.

    `disturbed` are their copies on a busy device, if any.
    """
    target, budget = _common(trainings, "target"), budget_of(trainings)
    energies = [one.energy_at(one.steps) for one in trainings if one.steps]
    why_no_energy = next((each.reason for each in energies if isinstance(each, Unavailable)), "")
    if not energies:
        why_no_energy = "no step was made"
    quantity = "seconds" if why_no_energy else "energy_mj"
    contenders = []
    for name in dict.fromkeys(names[one.training_id] for one in trainings):
        own = [one for one in trainings if names[one.training_id] == name]
        contenders.append(
            Contender(
                name=name,
                method=str(own[0].workload["method"]),
                setting=str(own[0].workload["quant"]),
                seeds=tuple(one.seed for one in own),
                cost=None if target is None else cost_to_target(own, target),
                quality=quality_under_budget(own, budget),
                outcome=outcome(own, quantity),
            )
        )
    contenders = with_front(contenders)
    emulated = any(one.emulated for one in trainings)
    winners = [cost_sentence(contenders, target, emulated)] if target is not None else []
    if target is None or (isinstance(budget, Budget) and budget.given):
        winners.append(quality_sentence(contenders, budget, emulated))
    kept = robustness_of(trainings, disturbed, names, target, lambda own: quality_under_budget(own, budget))
    return Race(trainings[0].device, emulated, target, budget, contenders, winners, quantity, why_no_energy, kept)


def budget_of(trainings: Sequence[Training]) -> Budget | Unavailable:
    """Returns the budget that was given or, without one, the seconds that every finished training has used."""
    minutes, joules = _common(trainings, "budget_minutes"), _common(trainings, "budget_joules")
    if minutes is not None:
        return Budget("seconds", 60.0 * minutes, given=True)
    if joules is not None:
        return Budget("energy_mj", 1e3 * joules, given=True)
    seconds = [one.seconds for one in trainings if one.status == "finished" and one.steps]
    return Budget("seconds", min(seconds), given=False) if seconds else Unavailable("no training has finished")


def _common(trainings: Sequence[Training], name: str) -> float | None:
    values = {one.plan.get(name) for one in trainings}
    found = values.pop() if len(values) == 1 else None
    return None if found is None else float(found)


@dataclass(frozen=True)
class _Reached:
    """Where a seed first reached the target. `since` is the time of the evaluation before, in seconds."""

    training: Training
    evaluation: Evaluation
    since: float

    @property
    def step(self) -> int:
        return self.evaluation.step


def cost_to_target(own: Sequence[Training], target: float) -> CostToTarget:
    """Returns what a contender's seeds took up to the first evaluation at `target` or above."""
    reached, missed, at_least = [], [], []
    for one in own:
        found = _reached(one, target)
        if found is None:
            missed.append(_why_missed(one))
            at_least.append(one.seconds)
        else:
            reached.append(found)
            at_least.append(found.since)
    return CostToTarget(
        steps=_cost(reached, lambda one: float(one.step)),
        seconds=_cost(reached, lambda one: one.training.seconds_at(one.step)),
        energy_mj=_cost(reached, lambda one: one.training.energy_at(one.step)),
        peak_memory_kib=_cost(reached, lambda one: _peak_at(one.training, one.step)),
        seconds_at_least=min(at_least),
        missed=tuple(missed),
    )


def _reached(one: Training, target: float) -> _Reached | None:
    before = 0.0
    for evaluation in one.evaluations:
        if evaluation.accuracy >= target:
            return _Reached(one, evaluation, before)
        before = one.seconds_at(evaluation.step)
    return None


def _why_missed(one: Training) -> str:
    best = max((each.accuracy for each in one.evaluations), default=None)
    far = "was never evaluated" if best is None else f"reached {best:.3f} at most in {one.steps} steps"
    ended = "" if one.status == "finished" else f" and is {one.status}{_because(one)}"
    return f"seed {one.seed} {far}{ended}"


def _because(one: Training) -> str:
    return f": {one.reason}" if one.reason else ""


def _peak_at(one: Training, step: int) -> Number:
    peaks = [segment.peak_memory_kib for segment in one.segments if segment.end <= step]
    known = [peak for peak in peaks if peak is not None]
    return float(max(known)) if known else Unavailable("no process reported its peak")


def _cost(reached: Sequence[_Reached], read: Callable[[_Reached], Number]) -> Estimate | Unavailable:
    if not reached:
        return Unavailable("no seed reached it")
    at_once = [one.training.seed for one in reached if one.step == 0]
    if at_once:
        seeds = ", ".join(map(str, at_once))
        return Unavailable(f"seed {seeds} reached it before the first step: choose a higher target")
    return estimate_cost_of_seeds((one.training.seed, read(one)) for one in reached)


def quality_under_budget(own: Sequence[Training], budget: Budget | Unavailable) -> Quality:
    """Returns the accuracy at each seed's last evaluation within the budget.

    A training that finished before the budget counts with its final accuracy; one that stopped for another reason is
    listed in the remarks instead.
    """
    if isinstance(budget, Unavailable):
        return Quality(budget)
    accuracies, remarks = [], []
    for one in own:
        used = _used(one, one.steps, budget)
        within = [each for each in one.evaluations if _within(_used(one, each.step, budget), budget)]
        if isinstance(used, Unavailable):
            remarks.append(f"seed {one.seed}: {used.reason}")
        elif one.status != "finished" and used < budget.limit:
            remarks.append(
                f"seed {one.seed} is {one.status} before the budget" + (f": {one.reason}" if one.reason else "")
            )
        elif not any(each.step for each in within):
            remarks.append(f"seed {one.seed} was not evaluated after a step within the budget")
        else:
            accuracies.append(within[-1].accuracy)
            if budget.given and used * _OVERRUN < budget.limit:
                remarks.append(f"seed {one.seed} ended before the budget{_because(one)}")
    found = estimate_accuracy(accuracies) if accuracies else Unavailable("no seed has an accuracy under this budget")
    return Quality(found, tuple(remarks))


def _used(one: Training, step: int, budget: Budget) -> Number:
    return one.seconds_at(step) if budget.quantity == "seconds" else one.energy_at(step)


def _within(used: Number, budget: Budget) -> bool:
    return not isinstance(used, Unavailable) and used <= budget.limit * (_OVERRUN if budget.given else 1.0 + 1e-9)


def outcome(own: Sequence[Training], quantity: str) -> Outcome:
    """Returns the results at the end of a contender's finished trainings; `quantity` is what the cost is counted in."""
    ended = [one for one in own if one.status == "finished" and one.steps and one.evaluations]
    if not ended:
        nothing = Unavailable("none of its trainings finished")
        return Outcome(nothing, nothing, nothing)
    costs = [one.seconds if quantity == "seconds" else one.energy_at(one.steps) for one in ended]
    known = [cost for cost in costs if not isinstance(cost, Unavailable)]
    missing = [cost for cost in costs if isinstance(cost, Unavailable)]
    peaks = [peak for one in ended if (peak := one.peak_memory_kib) is not None]
    return Outcome(
        accuracy=math.fsum(one.evaluations[-1].accuracy for one in ended) / len(ended),
        cost=missing[0] if missing else math.fsum(known) / len(known),
        peak_memory_kib=float(max(peaks)) if peaks else Unavailable("no process reported its peak"),
    )


def with_front(contenders: Sequence[Contender]) -> list[Contender]:
    """Marks the Pareto front: contenders such that no other is at least as good in all of accuracy, cost and memory,
    and better in one."""
    points = [_point(one.outcome) for one in contenders]
    return [
        replace(
            one,
            outcome=replace(
                one.outcome,
                in_front=own is not None and not any(other is not None and _dominates(other, own) for other in points),
            ),
        )
        for one, own in zip(contenders, points, strict=True)
    ]


def _point(found: Outcome) -> tuple[float, float, float] | None:
    accuracy, cost, peak = found.accuracy, found.cost, found.peak_memory_kib
    if isinstance(accuracy, Unavailable) or isinstance(cost, Unavailable) or isinstance(peak, Unavailable):
        return None
    return -accuracy, cost, peak


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
