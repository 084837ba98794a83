"""Estimates over the seeds of a contender: means with Student's intervals, of costs on their logarithms.

Every function is pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from foundation.unavailable import Unavailable
from reports.model.race import Estimate
from reports.model.reading import Interval

LEAST_SEEDS = 3
CONFIDENCE = 0.95


def estimate_cost(costs: Sequence[float]) -> Estimate:
    """Returns the geometric mean of positive costs with Student's interval on their logarithms.

    The interval of the mean m of n logarithms with deviation s is exp(m -+ t s / sqrt(n)), t of n - 1 degrees.
    """
    value, interval = _student([math.log(cost) for cost in costs])
    ends = interval if isinstance(interval, Unavailable) else Interval(math.exp(interval.low), math.exp(interval.high))
    return Estimate(math.exp(value), ends, min(costs), max(costs), len(costs))


def estimate_accuracy(accuracies: Sequence[float]) -> Estimate:
    """Returns the mean accuracy with Student's interval, cut off at 0 and 1."""
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
