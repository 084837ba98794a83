"""Who won a race by how much, in a sentence, or why that can't be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foundation.unavailable import Unavailable
from reports.model.race import Budget, Contender, CostToTarget, Estimate
from reports.text.numbers import format_list, quantity, times

_Compare = Callable[[Contender, Contender], str]
"""Returns why the first is not clearly better than the second, empty if it is."""


def cost_sentence(contenders: Sequence[Contender], target: float, emulated: bool) -> str:
    """Returns who reaches the target in the fewest seconds."""
    timed = [
        (seconds, one)
        for one in contenders
        if one.cost is not None and isinstance(seconds := one.cost.seconds, Estimate)
    ]
    goal = f"a held-out accuracy of {target:g}"
    if not timed:
        if any(_had_it(one) for one in contenders):
            return f"Who reaches {goal} first can't be told: some had it before the first step: choose a higher one."
        return f"Nobody reached {goal}: raise --steps or lower --target."
    if emulated:
        return f"Who reaches {goal} first can't be told: the device is emulated, and its seconds are no measure."
    # Whoever did not get there with every seed is behind all that did.
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
    return f"{took}: {second.name}, the next, takes {times(slower.value / fastest.value)} as long, {least} at least."


def _had_it(one: Contender) -> bool:
    """Returns whether a seed was at the target without any training."""
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
        return f"a seed of {other.name} that did not reach it ended too early to tell"
    return "they are within one evaluation of each other: lower --eval-every" if apart else "their intervals overlap"


def _few(one: Contender, count: int) -> str:
    return f"{one.name} has {count} seed{'s'[: count != 1]}, and an interval needs 3"


def _interval_low(cost: CostToTarget) -> float:
    found = cost.seconds
    if isinstance(found, Unavailable):
        return cost.seconds_at_least
    return found.least if isinstance(found.interval, Unavailable) else found.interval.low


def _least(one: Contender) -> float:
    """Returns the least seconds that a contender may take: by its interval, and by when its seeds did not have it."""
    if one.cost is None:
        return 0.0
    return min(_interval_low(one.cost), one.cost.seconds_at_least)


def _most(one: Contender) -> float:
    found = one.cost.seconds if one.cost is not None else Unavailable("")
    if isinstance(found, Unavailable):
        return float("inf")
    return found.most if isinstance(found.interval, Unavailable) else found.interval.high


def quality_sentence(contenders: Sequence[Contender], budget: Budget | Unavailable, emulated: bool) -> str:
    """Returns who has the highest accuracy under the budget."""
    if isinstance(budget, Unavailable):
        return f"Who is the most accurate after the same time can't be told: {budget.reason}."
    under = f"after {amount(budget)}"
    if emulated:
        return f"Who is the most accurate {under} can't be told: the device is emulated, and its time is no measure."
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
    """Returns a budget as a person reads it: `10.0 min of steps`."""
    unit = "ms" if budget.quantity == "seconds" else "mJ"
    limit = budget.limit * (1e3 if unit == "ms" else 1.0)
    return f"{quantity(limit, unit)} of steps"


def _no_better(best: Contender, other: Contender) -> str:
    own, rival = best.quality.accuracy, other.quality.accuracy
    if isinstance(own, Unavailable) or isinstance(rival, Unavailable):
        return f"{other.name} has no accuracy under this budget"
    for one, found in ((best, own), (other, rival)):
        if found.seeds < len(one.seeds):
            return f"not every seed of {one.name} came so far"
        if isinstance(found.interval, Unavailable):
            return _few(one, found.seeds)
    if isinstance(own.interval, Unavailable) or isinstance(rival.interval, Unavailable):
        return "there is no interval"
    return "" if own.interval.low > rival.interval.high else "their intervals overlap"
