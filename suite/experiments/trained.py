"""Summarizes the trainings of an experiment: contenders over their seeds, and how one compares with another.

As in a race, one contender is ahead of another only if their 95 % intervals over seeds do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from foundation.unavailable import Unavailable
from reports.model.experiment import Cell, Curve, common_ends
from reports.model.race import Estimate
from reports.model.reading import Interval, Number
from reports.model.training import Training, contender_names
from reports.text.numbers import format_list
from suite.results.race_answers import estimate_accuracy, estimate_change, estimate_cost_of_seeds

Estimated = Estimate | Unavailable
NO_TIMES = "the device is emulated, so its times are not measurements"


@dataclass(frozen=True)
class Contender:
    """A way of training, with its finished trainings, one for each seed."""

    name: str
    trainings: tuple[Training, ...]

    @property
    def method(self) -> str:
        """The name of its method."""
        return str(self.trainings[0].workload["method"])

    @property
    def quant(self) -> str:
        """The name of its quantization setting."""
        return str(self.trainings[0].workload["quant"])

    @property
    def accuracy(self) -> Estimate:
        """The held-out accuracy at the end."""
        return estimate_accuracy([one.evaluations[-1].accuracy for one in self.trainings])

    @property
    def untrained(self) -> Estimate:
        """The held-out accuracy before the first step."""
        return estimate_accuracy([one.evaluations[0].accuracy for one in self.trainings])

    @property
    def gain(self) -> Estimate:
        """The rise in accuracy, computed seed by seed."""
        return estimate_change([one.evaluations[-1].accuracy - one.evaluations[0].accuracy for one in self.trainings])

    @property
    def loss(self) -> float:
        """The held-out loss at the end, as the mean over seeds."""
        return fmean(one.evaluations[-1].loss for one in self.trainings)

    @property
    def seconds(self) -> Estimated:
        """The seconds of all steps."""
        return self.cost(lambda one: one.seconds)

    @property
    def joules(self) -> Estimated:
        """The joules of all steps."""
        return self.cost(lambda one: _joules(one.energy_at(one.steps)))

    @property
    def peak_mib(self) -> float | None:
        """The highest memory peak."""
        peaks = [one.peak_memory_kib for one in self.trainings if one.peak_memory_kib is not None]
        return max(peaks) / 1024 if peaks else None

    @property
    def forward_tokens(self) -> float | None:
        """The forward tokens of all steps of a training, at full rows."""
        (first, *_) = self.trainings
        return None if isinstance(first.forward_tokens, Unavailable) else first.forward_tokens * first.steps

    def cost(self, read: Callable[[Training], Number]) -> Estimated:
        """Returns the cost of a training, estimated over seeds."""
        return estimate_cost_of_seeds((one.seed, read(one)) for one in self.trainings)

    def curve(self, across: Callable[[Training, int], float], *, slot: int | None = None) -> Curve:
        """Returns the accuracy at each evaluation; `across` gives the x of a step."""
        first = self.trainings[0]
        places = range(min(len(one.evaluations) for one in self.trainings))
        points = [estimate_accuracy([one.evaluations[place].accuracy for one in self.trainings]) for place in places]
        x = tuple(across(first, first.evaluations[place].step) for place in places)
        return curve_of(self.name, x, points, [f"step {first.evaluations[place].step}" for place in places], slot)


def _joules(millijoules: Number) -> Number:
    return millijoules if isinstance(millijoules, Unavailable) else millijoules / 1e3


def contenders(trainings: Iterable[Training]) -> list[Contender]:
    """Returns the contenders in the order of their plan; trainings that did not finish are left out."""
    every = list(trainings)
    names = contender_names(every)
    found: dict[str, list[Training]] = {names[one.training_id]: [] for one in every}
    for one in every:
        if one.status == "finished" and one.steps and one.evaluations:
            found[names[one.training_id]].append(one)
    return [Contender(name, tuple(own)) for name, own in found.items() if own]


def renamed(found: Sequence[Contender], name: Callable[[Contender], str]) -> list[Contender]:
    """Returns the contenders under shorter names, if these tell them apart."""
    short = [name(one) for one in found]
    if len(set(short)) < len(short):
        return list(found)
    return [replace(one, name=word) for one, word in zip(found, short, strict=True)]


def curve_of(
    name: str,
    x: tuple[float, ...] | tuple[str, ...],
    points: Sequence[Estimate],
    words: Sequence[str],
    slot: int | None,
) -> Curve:
    """Returns estimates as a curve, with intervals if all have one."""
    low, high = common_ends([one.interval for one in points])
    return Curve(name, x, tuple(one.value for one in points), low, high, tuple(words), slot=slot)


def apart(one: Estimated, other: Estimated) -> bool | Unavailable:
    """Returns whether two estimates' intervals do not overlap, or why that can't be told."""
    first, second = _interval(one), _interval(other)
    if isinstance(first, Unavailable):
        return first
    if isinstance(second, Unavailable):
        return second
    return first.low > second.high or second.low > first.high


def _interval(found: Estimated) -> Interval | Unavailable:
    return found if isinstance(found, Unavailable) else found.interval


def standing(reference: Contender, others: Sequence[Contender]) -> str:
    """Returns who is ahead of the reference in final accuracy, who is behind, and for whom that can't be told."""
    ahead, behind, undecided, why = list[str](), list[str](), list[str](), "intervals overlap"
    for one in others:
        decided = apart(one.accuracy, reference.accuracy)
        if decided is True:
            above = one.accuracy.value > reference.accuracy.value
            (ahead if above else behind).append(f"{one.name} ({one.accuracy.value:.3f})")
        else:
            undecided.append(one.name)
            why = decided.reason if isinstance(decided, Unavailable) else why
    words = [
        f"{format_list(names)} {'is' if len(names) == 1 else 'are'} {side}"
        for side, names in (("ahead", ahead), ("behind", behind))
        if names
    ]
    if undecided:
        differ = "differs" if len(undecided) == 1 else "differ"
        words.append(f"whether {format_list(undecided)} {differ} can't be told ({why})")
    return f"against {reference.name} (accuracy {reference.accuracy.value:.3f}), {'; '.join(words)}"


def cells(name: str, found: Estimated) -> dict[str, Cell]:
    """Returns a value and its interval as two cells of a row."""
    if isinstance(found, Unavailable):
        return {name: None, f"{name}, 95 %": found.reason}
    return {name: found.value, f"{name}, 95 %": ends_text(found.interval)}


def ends_text(found: Interval | Unavailable) -> str:
    """Returns an interval as text, or why there is none."""
    return found.reason if isinstance(found, Unavailable) else f"{found.low:.4g} to {found.high:.4g}"
