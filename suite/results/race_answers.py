"""Answers a race in numbers and sentences: who won and by how much, or why that can't be told.

Also answers what a busy device and an interruption cost each contender. Estimates over a contender's seeds are means
with Student's intervals; for costs, on logarithms.

For the robustness each training has a disturbed copy of the same seed, which makes its steps while a load keeps all
cores busy, and whose process is ended once, halfway. Steps that were made twice count twice. Both follow the same
trajectory, so only their costs differ: factors of costs have Student's paired interval on logarithms, changes of
accuracy on the values themselves.

Every function is pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Unavailable
from reports.model.race import Budget, Contender, CostToTarget, Estimate, Quality, Robustness
from reports.model.reading import Interval, Number
from reports.model.training import CONDITIONS, Segment, Training, steps_lost
from reports.text.numbers import format_list, quantity, times, times_span

LEAST_SEEDS = 3
CONFIDENCE = 0.95


def estimate_cost(costs: Sequence[float]) -> Estimate:
    """Returns the geometric mean of positive costs with Student's interval on their logarithms.

    The interval of the mean m of n logarithms with deviation s is exp(m -+ t s / sqrt(n)), t of n - 1 degrees.
    """
    value, interval = _student([math.log(cost) for cost in costs])
    ends = interval if isinstance(interval, Unavailable) else Interval(math.exp(interval.low), math.exp(interval.high))
    return Estimate(math.exp(value), ends, min(costs), max(costs), len(costs))


def estimate_cost_of_seeds(costs: Iterable[tuple[int, Number]]) -> Estimate | Unavailable:
    """Returns the estimate over the costs of seeds, or why one of them has no cost."""
    known = []
    for seed, cost in costs:
        if isinstance(cost, Unavailable):
            return cost
        if not cost > 0:
            return Unavailable(f"seed {seed} recorded {cost:g}, which can't be a cost")
        known.append(cost)
    return estimate_cost(known)


def estimate_accuracy(accuracies: Sequence[float]) -> Estimate:
    """Returns the mean accuracy with Student's interval, clipped to 0 and 1."""
    value, interval = _student(accuracies)
    if isinstance(interval, Interval):
        interval = Interval(max(0.0, interval.low), min(1.0, interval.high))
    return Estimate(value, interval, min(accuracies), max(accuracies), len(accuracies))


def _student(values: Sequence[float]) -> tuple[float, Interval | Unavailable]:
    count = len(values)
    mean = math.fsum(values) / count
    if count < LEAST_SEEDS:
        return mean, Unavailable(f"of {count} seed{'s'[: count != 1]}, and an interval needs {LEAST_SEEDS}")
    from scipy import special  # loading scipy.stats takes most of a second

    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = float(special.stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * deviation / math.sqrt(count)
    return mean, Interval(mean - reach, mean + reach)


def estimate_change(changes: Sequence[float]) -> Estimate:
    """Returns the mean of paired differences with Student's interval."""
    value, interval = _student(changes)
    return Estimate(value, interval, min(changes), max(changes), len(changes))


_Compare = Callable[[Contender, Contender], str]
"""Returns why the first is not clearly better than the second; empty if it is."""


def cost_sentence(contenders: Sequence[Contender], target: float, emulated: bool) -> str:
    """Returns the sentence on who reaches the target in the fewest seconds."""
    timed = [
        (seconds, one)
        for one in contenders
        if one.cost is not None and isinstance(seconds := one.cost.seconds, Estimate)
    ]
    goal = f"a held-out accuracy of {target:g}"
    if not timed:
        if any(_had_it(one) for one in contenders):
            return f"Who reaches {goal} first can't be told, as some had it before the first step: choose a higher one."
        return f"Nobody reached {goal}: raise --steps or lower --target."
    if emulated:
        return f"Who reaches {goal} first can't be told: the device is emulated, so its seconds are not measurements."
    # A contender that missed the target with a seed is behind all that reached it with every seed.
    timed.sort(key=lambda pair: (bool(pair[1].cost and pair[1].cost.missed), pair[0].value))
    fastest, best = timed[0]
    others = [one for one in contenders if one is not best]
    tied = [(one, why) for one in others if (why := _no_faster(best, one))]
    if tied:
        return f"Who reaches {goal} in the fewest seconds can't be told: {_undecided(best, others, tied)}."
    took = f"{best.name} reaches {goal} first, after {quantity(fastest.value * 1e3, 'ms')} of steps"
    if len(timed) < 2:
        return f"{took}; nobody else reached it."
    slower, second = timed[1]
    least = times(_least(second) / _most(best))
    return f"{took}: {second.name}, the next, takes {times(slower.value / fastest.value)} as long, at least {least}."


def _had_it(one: Contender) -> bool:
    """Returns whether a seed was at the target before any training."""
    cost = one.cost
    if cost is None or isinstance(cost.seconds, Estimate):
        return False
    return cost.seconds_at_least == 0.0 and len(cost.missed) < len(one.seeds)


def _undecided(best: Contender, others: Sequence[Contender], tied: Sequence[tuple[Contender, str]]) -> str:
    reasons = list(dict.fromkeys(why for _, why in tied))
    behind = [one.name for one in others if all(one is not other for other, _ in tied)]
    rest = f"; {format_list(behind)} {'is' if len(behind) == 1 else 'are'} behind {best.name}" if behind else ""
    return f"{best.name} against {format_list([one.name for one, _ in tied])}: {'; '.join(reasons)}{rest}"


def _no_faster(best: Contender, other: Contender) -> str:
    cost, rival = best.cost, other.cost
    if cost is None or rival is None or isinstance(cost.seconds, Unavailable):
        return "there is no cost"
    if cost.missed:
        return f"not every seed of {best.name} reached it"
    for one in (best, other):
        if (count := len(one.seeds)) < 3:
            return _few(one, count)
    if _had_it(other):
        return f"{other.name} had it before the first step: choose a higher target"
    if isinstance(cost.seconds.interval, Unavailable):
        return cost.seconds.interval.reason
    if cost.seconds.interval.high < _least(other):
        return ""
    apart = isinstance(rival.seconds, Estimate) and _interval_low(rival) > cost.seconds.interval.high
    if rival.missed and (apart or isinstance(rival.seconds, Unavailable)):
        return f"a seed of {other.name} that did not reach it ended too early to compare"
    return "they are within one evaluation of each other: lower --eval-every" if apart else "their intervals overlap"


def _few(one: Contender, count: int) -> str:
    return f"{one.name} has {count} seed{'s'[: count != 1]}, and an interval needs 3"


def _interval_low(cost: CostToTarget) -> float:
    found = cost.seconds
    if isinstance(found, Unavailable):
        return cost.seconds_at_least
    return found.least if isinstance(found.interval, Unavailable) else found.interval.low


def _least(one: Contender) -> float:
    """Returns the fewest seconds that a contender may take, by its interval and by the last evaluations without it."""
    if one.cost is None:
        return 0.0
    return min(_interval_low(one.cost), one.cost.seconds_at_least)


def _most(one: Contender) -> float:
    found = one.cost.seconds if one.cost is not None else Unavailable("")
    if isinstance(found, Unavailable):
        return float("inf")
    return found.most if isinstance(found.interval, Unavailable) else found.interval.high


def quality_sentence(contenders: Sequence[Contender], budget: Budget | Unavailable, emulated: bool) -> str:
    """Returns the sentence on who has the highest accuracy under the budget."""
    if isinstance(budget, Unavailable):
        return f"Who is the most accurate after the same time can't be told: {budget.reason}."
    under = f"after {amount(budget)}"
    if emulated:
        return (
            f"Who is the most accurate {under} can't be told: the device is emulated, so its time is not a measurement."
        )
    rated = [(found.value, one) for one in contenders if isinstance(found := one.quality.accuracy, Estimate)]
    if not rated:
        return f"Who is the most accurate {under} can't be told: nobody has an accuracy under this budget."
    rated.sort(key=lambda pair: -pair[0])
    best = rated[0][1]
    others = [one for one in contenders if one is not best]
    tied = [(one, why) for one in others if (why := _no_better(best, one))]
    if tied:
        return f"Who is the most accurate {under} can't be told: {_undecided(best, others, tied)}."
    (value, _), (next_value, second) = rated[:2]
    ahead = 100 * (value - next_value)
    return f"{best.name} is the most accurate {under}: {value:.3f}, {ahead:.1f} points ahead of {second.name}."


def amount(budget: Budget) -> str:
    """Formats a budget: `10.0 min of steps`."""
    unit = "ms" if budget.quantity == "seconds" else "mJ"
    limit = budget.limit * (1e3 if unit == "ms" else 1.0)
    return f"{quantity(limit, unit)} of steps"


def _no_better(best: Contender, other: Contender) -> str:
    own, rival = best.quality.accuracy, other.quality.accuracy
    if isinstance(own, Unavailable) or isinstance(rival, Unavailable):
        return f"{other.name} has no accuracy under this budget"
    for one, found in ((best, own), (other, rival)):
        if found.seeds < len(one.seeds):
            return f"not every seed of {one.name} got that far"
        if isinstance(found.interval, Unavailable):
            return _few(one, found.seeds)
    if isinstance(own.interval, Unavailable) or isinstance(rival.interval, Unavailable):
        return "there is no interval"
    return "" if own.interval.low > rival.interval.high else "their intervals overlap"


_QualityOf = Callable[[Sequence[Training]], Quality]


@dataclass(frozen=True)
class _Pair:
    """A training and its disturbed copy, with the lost steps counted.

    `step` is the one up to which their costs are compared, or why there is none.
    """

    quiet: Training
    disturbed: Training
    step: int | str


def robustness_of(
    quiet: Sequence[Training],
    disturbed: Sequence[Training],
    names: Mapping[str, str],
    target: float | None,
    quality_of: _QualityOf,
) -> list[Robustness]:
    """Returns the robustness of each contender that has disturbed trainings; `names` are those of the quiet ones.

    `quality_of` returns the accuracy of trainings under the race's budget.
    """
    twins = {_identity(one): with_lost_steps(one) for one in disturbed}
    by_name: dict[str, list[_Pair]] = {}
    for one in quiet:
        twin = twins.get(_identity(one))
        if twin is not None:
            pair = _Pair(one, twin, _common_step(one, twin, target))
            by_name.setdefault(names[one.training_id], []).append(pair)
    return [_of_contender(name, pairs, quality_of) for name, pairs in by_name.items()]


def _identity(one: Training) -> tuple[object, ...]:
    workload = sorted((key, str(value)) for key, value in one.workload.items() if key != CONDITIONS)
    return one.device, one.seed, *workload


def with_lost_steps(one: Training) -> Training:
    """Returns a disturbed training in which steps that were made twice have twice their seconds and energy."""
    return replace(one, segments=tuple(_with_lost_steps(each, int(one.plan["steps"])) for each in one.segments))


def _with_lost_steps(segment: Segment, steps: int) -> Segment:
    lost = steps_lost(steps, segment.first_step, segment.end)
    twice = [(2.0 * seconds, loss) for seconds, loss in segment.curve[:lost]]
    seconds = segment.seconds + sum(each for each, _ in segment.curve[:lost])
    energy = segment.energy_mj
    if not isinstance(energy, Unavailable):
        energy *= 1.0 + lost / segment.steps
    return replace(segment, seconds=seconds, energy_mj=energy, curve=(*twice, *segment.curve[lost:]))


def _common_step(quiet: Training, disturbed: Training, target: float | None) -> int | str:
    """Returns the step at which both reached the target, or without a target the last that both made."""
    if target is None:
        step = min(quiet.steps, disturbed.steps)
        return step or f"seed {quiet.seed} made no step in both trainings"
    reached = [
        next((each.step for each in one.evaluations if each.accuracy >= target), 0) for one in (quiet, disturbed)
    ]
    if not all(reached):
        return f"seed {quiet.seed} did not reach {target:g} after a step in both trainings"
    return min(reached)


def _common_end(quiet: Training, disturbed: Training, step: int) -> int:
    """Returns the last step up to `step` at which processes of both ended, where energy is known; 0 if none."""
    ends = {each.end for each in quiet.segments} & {each.end for each in disturbed.segments}
    return max((end for end in ends if end <= step), default=0)


def _of_contender(name: str, pairs: Sequence[_Pair], quality_of: _QualityOf) -> Robustness:
    compared = [(pair.quiet, pair.disturbed, pair.step) for pair in pairs if isinstance(pair.step, int)]
    seconds = [(one.seconds_at(step), twin.seconds_at(step)) for one, twin, step in compared]
    together = [(one, twin, end) for one, twin, step in compared if (end := _common_end(one, twin, step))]
    energies = [(one.energy_at(end), twin.energy_at(end)) for one, twin, end in together]
    left = [words for pair in pairs if (words := _left_course(pair.quiet, pair.disturbed))]
    early = [words for pair in pairs if (words := _ended_early(pair.disturbed))]
    remarks = [*(pair.step for pair in pairs if isinstance(pair.step, str)), *early, *left]
    return Robustness(name, _factor(seconds), _factor(energies), _change(pairs, quality_of), not left, remarks)


def _factor(costs: Sequence[tuple[float | Unavailable, float | Unavailable]]) -> Estimate | Unavailable:
    """Returns the factor by which costs grew from the first to the second of each pair."""
    factors = []
    for before, after in costs:
        for each in (before, after):
            if isinstance(each, Unavailable):
                return each
            if not each > 0:
                return Unavailable(f"a training recorded {each:g}, which can't be a cost")
        factors.append(float(after) / float(before))  # type: ignore[arg-type]
    return estimate_cost(factors) if factors else Unavailable("no seed has a cost in both trainings")


def _change(pairs: Sequence[_Pair], quality_of: _QualityOf) -> Estimate | Unavailable:
    """Returns by how much the accuracy under the budget changed."""
    changes = []
    for pair in pairs:
        before, after = (quality_of([one]).accuracy for one in (pair.quiet, pair.disturbed))
        if isinstance(before, Estimate) and isinstance(after, Estimate):
            changes.append(after.value - before.value)
    return (
        estimate_change(changes)
        if changes
        else Unavailable("no seed has an accuracy under the budget in both trainings")
    )


def _ended_early(disturbed: Training) -> str:
    """Returns a remark if a training ended, by a budget or target, before its process was to be interrupted."""
    steps = int(disturbed.plan["steps"])
    if any(steps_lost(steps, each.first_step, each.end) for each in disturbed.segments):
        return ""
    return f"seed {disturbed.seed} ended after {disturbed.steps} of {steps} steps, before it was to be interrupted"


def _left_course(quiet: Training, disturbed: Training) -> str:
    """Returns where the losses of the two first differ; empty if they are the same as far as both go."""
    losses = [[loss for segment in one.segments for _, loss in segment.curve] for one in (quiet, disturbed)]
    first = next((step for step, (one, other) in enumerate(zip(*losses, strict=False), 1) if one != other), None)
    return "" if first is None else f"seed {quiet.seed} left the trajectory of the quiet training at step {first}"


def robustness_sentence(one: Robustness, emulated: bool) -> str:
    """Returns the sentence on what a busy device and an interruption cost, and whether they changed the result."""
    if emulated:
        cost = "what they cost can't be told, as the device is emulated"
    elif isinstance(one.seconds, Unavailable):
        cost = f"what they cost can't be told: {one.seconds.reason}"
    else:
        cost = f"{_grown(one.seconds)} the seconds"
        cost += "" if isinstance(one.energy, Unavailable) else f", {_grown(one.energy)} the energy"
        if isinstance(one.accuracy, Estimate):
            cost += f", an accuracy {one.accuracy.value:+.3f} under the same budget"
    course = ["each step's loss stays the same"] if one.same_course else []
    return f"{one.name} with a busy device and an interruption: {'; '.join([cost, *course, *one.remarks])}."


def _grown(factor: Estimate) -> str:
    ends = factor.interval
    if isinstance(ends, Interval):
        return f"{times(factor.value)} ({times_span(ends.low, ends.high)})"
    return f"{times(factor.value)} (n = {factor.seeds})"
