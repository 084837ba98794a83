"""What a busy device and an interruption cost each contender of a race.

Each of its trainings has a twin of the same seed, whose steps are made while a load of ours keeps all cores busy and
whose process is ended once in the middle. Steps that were made twice count twice. Both go the same way step by step, so
that what differs is what it took: factors of costs have Student's paired interval on their logarithms, changes of
accuracy on the values themselves. Every function is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Unavailable
from reports.model.race import Estimate, Quality, Robustness
from reports.model.reading import Interval
from reports.model.training import CONDITIONS, Segment, Training, steps_lost
from reports.text.numbers import times, times_span
from suite.results.race_estimates import estimate_change, estimate_cost

_QualityOf = Callable[[Sequence[Training]], Quality]


@dataclass(frozen=True)
class _Pair:
    """A training and its disturbed twin, whose lost steps are counted; `step` is that up to which their costs are
    compared, or why there is none.
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
    """Returns it for each contender that has disturbed trainings; `names` are those of the quiet ones.

    `quality_of` returns what trainings are worth under the race's budget.
    """
    twins = {_identity(one): with_lost_steps(one) for one in disturbed}
    by_name: dict[str, list[_Pair]] = {}
    for one in quiet:
        twin = twins.get(_identity(one))
        if twin is not None:
            pair = _Pair(one, twin, _compared_at(one, twin, target))
            by_name.setdefault(names[one.training_id], []).append(pair)
    return [_of_contender(name, pairs, quality_of) for name, pairs in by_name.items()]


def _identity(one: Training) -> tuple[object, ...]:
    workload = sorted((key, str(value)) for key, value in one.workload.items() if key != CONDITIONS)
    return one.device, one.seed, *workload


def with_lost_steps(one: Training) -> Training:
    """Returns a disturbed training with steps that were made twice at twice their seconds and energy."""
    return replace(one, segments=tuple(_with_lost_steps(each, int(one.plan["steps"])) for each in one.segments))


def _with_lost_steps(segment: Segment, steps: int) -> Segment:
    lost = steps_lost(steps, segment.first_step, segment.end)
    twice = [(2.0 * seconds, loss) for seconds, loss in segment.curve[:lost]]
    seconds = segment.seconds + sum(each for each, _ in segment.curve[:lost])
    energy = segment.energy_mj
    if not isinstance(energy, Unavailable):
        energy *= 1.0 + lost / segment.steps
    return replace(segment, seconds=seconds, energy_mj=energy, curve=(*twice, *segment.curve[lost:]))


def _compared_at(quiet: Training, disturbed: Training, target: float | None) -> int | str:
    """Returns the step at which both reached the target, without one the last that both made."""
    if target is None:
        step = min(quiet.steps, disturbed.steps)
        return step or f"seed {quiet.seed} made no step both ways"
    reached = [
        next((each.step for each in one.evaluations if each.accuracy >= target), 0) for one in (quiet, disturbed)
    ]
    if not all(reached):
        return f"seed {quiet.seed} did not reach {target:g} after a step both ways"
    return min(reached)


def _common_end(quiet: Training, disturbed: Training, step: int) -> int:
    """Returns the last step up to `step` at which a process of both ended, 0 without any: energy is known of these."""
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
    """Returns by how much costs grew from the first to the second of each pair."""
    factors = []
    for before, after in costs:
        for each in (before, after):
            if isinstance(each, Unavailable):
                return each
            if not each > 0:
                return Unavailable(f"a training recorded {each:g}, which is no cost")
        factors.append(float(after) / float(before))  # type: ignore[arg-type]
    return estimate_cost(factors) if factors else Unavailable("no seed has a cost both ways")


def _change(pairs: Sequence[_Pair], quality_of: _QualityOf) -> Estimate | Unavailable:
    """Returns by how much the accuracy under the budget changed."""
    changes = []
    for pair in pairs:
        before, after = (quality_of([one]).accuracy for one in (pair.quiet, pair.disturbed))
        if isinstance(before, Estimate) and isinstance(after, Estimate):
            changes.append(after.value - before.value)
    return estimate_change(changes) if changes else Unavailable("no seed has an accuracy under the budget both ways")


def _ended_early(disturbed: Training) -> str:
    """Returns that a training ended before its process was to be, as a budget or a target may have it, else nothing."""
    steps = int(disturbed.plan["steps"])
    if any(steps_lost(steps, each.first_step, each.end) for each in disturbed.segments):
        return ""
    return f"seed {disturbed.seed} ended after {disturbed.steps} of {steps} steps, before it was to be interrupted"


def _left_course(quiet: Training, disturbed: Training) -> str:
    """Returns where the losses of the two differ first, empty if they are the same as far as both go."""
    losses = [[loss for segment in one.segments for _, loss in segment.curve] for one in (quiet, disturbed)]
    first = next((step for step, (one, other) in enumerate(zip(*losses, strict=False), 1) if one != other), None)
    return "" if first is None else f"seed {quiet.seed} left the trajectory of the quiet training at step {first}"


def robustness_sentence(one: Robustness, emulated: bool) -> str:
    """Returns what a busy device and an interruption cost a contender, and whether they changed what it learned."""
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
