"""Statistics over sessions: medians, their intervals, percentiles with enough steps, stability.

The unit of evidence is the session median, as steps of one process are not independent. Every function is pure and
seeds its random numbers, so the same numbers always give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Unavailable
from reports.model.reading import Interval

MIN_SESSIONS = 3
CONFIDENCE = 0.95
#: How intervals of session medians and of their ratios are computed; documents have this beside the intervals.
INTERVAL_METHOD = "Student's t on logarithms of session medians, Welch's t for ratios"
RESAMPLES = 9999
DEFAULT_SEED = 20240916

#: Steps needed to state, with 99 % confidence, that a percentile is no worse [LoadGen's rule].
STEPS_FOR_PERCENTILE = {50: 11, 90: 64, 95: 130, 99: 662}

UNSTABLE_PINNED_PERCENT = 3.0
UNSTABLE_PHONE_PERCENT = 5.0


def median(values: Sequence[float]) -> float:
    """Returns the middle value, or the mean of the two middle ones. Raises ValueError without values."""
    if not values:
        raise ValueError("the median of no values")
    return float(np.median(np.asarray(values, dtype=np.float64)))


def session_interval(session_medians: Sequence[float]) -> Interval | Unavailable:
    """Returns the 95 % interval of the level around which session medians scatter: Student's t on their logarithms.

    exp(mean(log x) -+ t(0.975, n - 1) s / sqrt(n)), with s the standard deviation of the logarithms (n - 1 in the
    denominator) [Student 1908]. It covers 95 % for normal and log-normal noise from 3 sessions on, more with one
    outlier, and less if sessions fall into two states (docs/measuring.md). It is widened to contain the median of the
    sessions, beside which it is printed.
    """
    unfit = _unfit(session_medians)
    if unfit is not None:
        return unfit
    return _around(student_bounds(_logs(session_medians)), median(session_medians))


def ratio_interval(session_medians: Sequence[float], reference_medians: Sequence[float]) -> Interval | Unavailable:
    """Returns the 95 % interval of the ratio of two levels: Welch's t on the logarithms of both sides' medians.

    Both sides are taken to be independent, each with its own variance [Welch 1947]. The interval is widened to contain
    the ratio of the two medians.
    """
    unfit = _unfit(session_medians) or _unfit(reference_medians)
    if unfit is not None:
        return unfit
    bounds = welch_bounds(_logs(session_medians), _logs(reference_medians))
    return _around(bounds, median(session_medians) / median(reference_medians))


Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


def student_bounds(values: NDArray[np.float64]) -> Bounds:
    """Returns both ends [...] of the t interval of the mean of `values` [..., n], with n of 2 or more."""
    count = values.shape[-1]
    return _bounds(values.mean(-1), np.sqrt(values.var(-1, ddof=1) / count), np.float64(count - 1))


def welch_bounds(values: NDArray[np.float64], reference: NDArray[np.float64]) -> Bounds:
    """Returns both ends [...] of Welch's interval of mean(values) - mean(reference), [..., n] and [..., m]."""
    own, other = (side.var(-1, ddof=1) / side.shape[-1] for side in (values, reference))
    squares = own**2 / (values.shape[-1] - 1) + other**2 / (reference.shape[-1] - 1)
    # Without any scatter the interval has no width, whatever the degrees of freedom.
    freedom = np.divide((own + other) ** 2, squares, out=np.ones_like(squares), where=squares > 0)
    return _bounds(values.mean(-1) - reference.mean(-1), np.sqrt(own + other), freedom)


def _bounds(mean: NDArray[np.float64], error: NDArray[np.float64], freedom: NDArray[np.float64] | np.float64) -> Bounds:
    from scipy.special import stdtrit  # loads quickly, but only intervals need it

    reach = stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    return mean - reach, mean + reach


def _logs(values: Sequence[float]) -> NDArray[np.float64]:
    return np.log(np.asarray(values, dtype=np.float64))


def _around(bounds: Bounds, point: float) -> Interval | Unavailable:
    """Converts an interval of logarithms into one of values, widened to contain `point`."""
    with np.errstate(over="ignore"):
        low, high = (float(np.exp(end)) for end in bounds)
    if not math.isfinite(high) or not math.isfinite(point):
        return Unavailable("the sessions are too far apart for an interval")
    return Interval(min(low, point), max(high, point))


def _unfit(values: Sequence[float]) -> Unavailable | None:
    """Returns why these values can't have an interval, or None if they can."""
    if len(values) < MIN_SESSIONS:
        return _too_few(len(values))
    if not all(value > 0 and math.isfinite(value) for value in values):
        return Unavailable("a session's median is not positive and finite")
    return None


def median_interval(values: Sequence[float], seed: int = DEFAULT_SEED) -> Interval | Unavailable:
    """Returns the 95 % percentile-bootstrap interval of the median [Efron 1979], for ten or more values.

    It never leaves [min, max], so it covers the true median with a probability of at most 1 - 2^(1-n). For few values
    that is far too low; use :func:`session_interval` for those. There is no bias correction (BCa), as its jackknife
    fails for a median.
    """
    if len(values) < MIN_SESSIONS:
        return _too_few(len(values))
    if min(values) == max(values):
        return Interval(float(values[0]), float(values[0]))
    found = _bootstrap(values, seed)
    if isinstance(found, Unavailable):
        return found
    # Interpolation between equal resamples may be off by a rounding error.
    point = median(values)
    return Interval(min(max(found.low, min(values)), point), max(min(found.high, max(values)), point))


def percentiles(step_values: Sequence[float]) -> dict[str, float]:
    """Returns those of `p50`, `p90`, `p95` and `p99` for which there are enough steps.

    They are interpolated linearly between order statistics.
    """
    allowed = [p for p, needed in STEPS_FOR_PERCENTILE.items() if len(step_values) >= needed]
    if not allowed:
        return {}
    found = np.percentile(np.asarray(step_values, dtype=np.float64), allowed)
    return {f"p{p}": float(value) for p, value in zip(allowed, found, strict=True)}


def cv_percent(values: Sequence[float]) -> float | Unavailable:
    """Returns the coefficient of variation of two or more values: 100 * standard deviation / mean.

    The standard deviation has n - 1 in the denominator.
    """
    if len(values) < 2:
        return Unavailable(f"{len(values)} sessions, but a variation needs at least 2")
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if mean <= 0:
        return Unavailable("the mean is not positive")
    return 100.0 * float(data.std(ddof=1)) / mean


def unstable_above_percent(kind: str) -> float:
    """Returns the coefficient of variation above which a measurement is unstable.

    It is 5 % for phones and 3 % for pinned boards.
    """
    return UNSTABLE_PHONE_PERCENT if kind == "android" else UNSTABLE_PINNED_PERCENT


def stability_score(session_medians: Sequence[float], step_values: Sequence[float]) -> float | Unavailable:
    """Returns the stability from 0 (wild) to 100 (steady):

        0.5 max(0, 100 - 10 CV%) + 0.25 max(0, 100 - 50 (max/min - 1)) + 0.25 max(0, 100 - 100 (p99/p50 - 1))

    CV and max/min are over session medians, p99/p50 is over all steps. With too few steps, p99 is the maximum
    [pytorch/executorch, analyze_benchmark_stability.py].
    """
    variation = cv_percent(session_medians)
    if isinstance(variation, Unavailable):
        return variation
    if not step_values or min(session_medians) <= 0 or median(step_values) <= 0:
        return Unavailable("no steps with a positive duration")
    tail = percentiles(step_values).get("p99", max(step_values))
    spread = max(session_medians) / min(session_medians)
    return (
        0.5 * max(0.0, 100.0 - 10.0 * variation)
        + 0.25 * max(0.0, 100.0 - 50.0 * (spread - 1.0))
        + 0.25 * max(0.0, 100.0 - 100.0 * (tail / median(step_values) - 1.0))
    )


def _too_few(count: int) -> Unavailable:
    return Unavailable(f"{count} sessions, but an interval needs at least {MIN_SESSIONS}")


def _median_along(data: Any, axis: int = -1) -> Any:
    return np.median(data, axis=axis)


def _bootstrap(values: Sequence[float], seed: int) -> Interval | Unavailable:
    from scipy import stats as scipy_stats  # takes most of a second to load, and only intervals need it

    result = scipy_stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        _median_along,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(seed),
    )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):
        return Unavailable("the bootstrap has no finite interval")
    return Interval(low, high)
