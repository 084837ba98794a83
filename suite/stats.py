"""Statistics over sessions: medians, bootstrap intervals, percentiles where allowed, stability.

The unit of evidence is the session median: steps of one process are not independent. Every function is pure and its
random numbers are seeded, so the same numbers give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foundation.unavailable import Unavailable
from reports.model.reading import Interval

MIN_SESSIONS = 3
CONFIDENCE = 0.95
RESAMPLES = 9999
DEFAULT_SEED = 20240916

#: Steps needed to state a percentile with 99 % confidence that it is no worse [LoadGen's rule].
STEPS_FOR_PERCENTILE = {50: 11, 90: 64, 95: 130, 99: 662}

UNSTABLE_PINNED_PERCENT = 3.0
UNSTABLE_PHONE_PERCENT = 5.0


def median(values: Sequence[float]) -> float:
    """Returns the middle value, the mean of the two middle ones for an even count. ValueError without values."""
    if not values:
        raise ValueError("the median of no values")
    return float(np.median(np.asarray(values, dtype=np.float64)))


def median_interval(session_medians: Sequence[float], seed: int = DEFAULT_SEED) -> Interval | Unavailable:
    """Returns the 95 % percentile-bootstrap interval of the median of session medians [Efron 1979].

    The interval never leaves [min, max], so with n sessions it cannot cover the true median more often than
    1 - 2^(1-n): 75 % at 3, 94 % at 5, 98 % at 7. Bias correction (BCa) is left out: its jackknife fails for a median.
    """
    if len(session_medians) < MIN_SESSIONS:
        return _too_few(len(session_medians))
    if min(session_medians) == max(session_medians):
        return Interval(float(session_medians[0]), float(session_medians[0]))
    found = _bootstrap((session_medians,), _median_along, seed)
    if isinstance(found, Unavailable):
        return found
    # Interpolation between equal resamples may be off by a rounding error.
    point = median(session_medians)
    return Interval(min(max(found.low, min(session_medians)), point), max(min(found.high, max(session_medians)), point))


def ratio_interval(
    session_medians: Sequence[float], reference_medians: Sequence[float], seed: int = DEFAULT_SEED
) -> Interval | Unavailable:
    """Returns the 95 % percentile-bootstrap interval of median(session_medians) / median(reference_medians).

    Both are resampled independently. The reference values must be positive.
    """
    fewest = min(len(session_medians), len(reference_medians))
    if fewest < MIN_SESSIONS:
        return _too_few(fewest)
    if min(reference_medians) <= 0:
        return Unavailable("the reference holds a value that is not positive")
    if min(session_medians) == max(session_medians) and min(reference_medians) == max(reference_medians):
        ratio = float(session_medians[0]) / float(reference_medians[0])
        return Interval(ratio, ratio)
    return _bootstrap((session_medians, reference_medians), _ratio_along, seed)


def percentiles(step_values: Sequence[float]) -> dict[str, float]:
    """Returns `p50`, `p90`, `p95`, `p99` (linear interpolation between order statistics), each only with enough
    steps."""
    allowed = [p for p, needed in STEPS_FOR_PERCENTILE.items() if len(step_values) >= needed]
    if not allowed:
        return {}
    found = np.percentile(np.asarray(step_values, dtype=np.float64), allowed)
    return {f"p{p}": float(value) for p, value in zip(allowed, found, strict=True)}


def cv_percent(values: Sequence[float]) -> float | Unavailable:
    """Returns the coefficient of variation: 100 * standard deviation (n - 1 in the denominator) / mean, of two values
    or more."""
    if len(values) < 2:
        return Unavailable(f"{len(values)} sessions, at least 2 are needed for a variation")
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if mean <= 0:
        return Unavailable("the mean is not positive")
    return 100.0 * float(data.std(ddof=1)) / mean


def unstable_above_percent(kind: str) -> float:
    """Returns the coefficient of variation above which a measurement is unstable: 5 % for phones, 3 % for pinned
    boards."""
    return UNSTABLE_PHONE_PERCENT if kind == "android" else UNSTABLE_PINNED_PERCENT


def stability_score(session_medians: Sequence[float], step_values: Sequence[float]) -> float | Unavailable:
    """Returns the stability from 0 (wild) to 100 (steady):

        0.5 max(0, 100 - 10 CV%) + 0.25 max(0, 100 - 50 (max/min - 1)) + 0.25 max(0, 100 - 100 (p99/p50 - 1))

    CV and max/min over session medians, p99/p50 over all steps; p99 is the maximum where there are too few steps
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
    return Unavailable(f"{count} sessions, at least {MIN_SESSIONS} are needed for an interval")


def _median_along(data: Any, axis: int = -1) -> Any:
    return np.median(data, axis=axis)


def _ratio_along(data: Any, reference: Any, axis: int = -1) -> Any:
    return np.median(data, axis=axis) / np.median(reference, axis=axis)


def _bootstrap(samples: tuple[Sequence[float], ...], statistic: Any, seed: int) -> Interval | Unavailable:
    from scipy import stats as scipy_stats  # takes most of a second, and only intervals need it

    arrays = tuple(np.asarray(sample, dtype=np.float64) for sample in samples)
    result = scipy_stats.bootstrap(
        arrays,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        paired=False,
        random_state=np.random.default_rng(seed),
    )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):
        return Unavailable("the bootstrap gave no finite interval")
    return Interval(low, high)
