"""Total drift: small steps that add up, each too small for the screen.

    total = log(median of the last 10 points / median of the first 10 of the segment)
    error = s sqrt(pi/2) sqrt(2/10) sqrt((1 + r) / (1 - r))
    drift if |total| > 4 error  and  |total| > log(1 + max(2.5 %, floor))

s is the robust deviation and r the lag-1 autocorrelation of what is left after subtracting the straight line between
the two medians. sqrt(pi/2) accounts for the use of medians, the last factor for nights that resemble one another
[Priestley, Spectral Analysis and Time Series, 5.3.2]. Drift alone does not reveal its cause: it makes a series a
suspect, and pairs with the segment's first artifact then tell the code's effect from the device's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.regression.log_ratios import (
    Array,
    Direction,
    Side,
    Values,
    effect_floor,
    mad_scale,
    median_of_rows,
    percent,
    worse_sign,
)
from suite.regression.screen import LEAST_SCALE, Insufficient

END_POINTS = 10
MIN_POINTS = 2 * END_POINTS
ERRORS = 4.0
MOST_AUTOCORRELATION = 0.9

#: Nights to wait before pairs are measured again for the same drift.
NIGHTS_BETWEEN_CHECKS = 14


@dataclass(frozen=True)
class Drift:
    """The drift of a segment: `change` is last over first minus 1, `error` the standard error of its logarithm.

    `autocorrelation` is that of lag 1.
    """

    found: bool
    side: Side
    change: float
    error: float
    autocorrelation: float
    floor: float
    points: int
    sentence: str

    def numbers(self) -> dict[str, float]:
        """Returns what the store keeps."""
        return {name: getattr(self, name) for name in ("change", "error", "autocorrelation", "floor", "points")}


def total_drift(values: Values, direction: Direction, floor: float = 0.0) -> Drift | Insufficient:
    """Checks one segment for drift (oldest first, including the newest point).

    Raises ValueError for numbers that are not finite, an unknown direction or a negative floor.
    """
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        raise ValueError("a history must have finite numbers")
    worse, least = worse_sign(direction), effect_floor(floor)
    if len(data) < MIN_POINTS:
        return Insufficient(len(data), f"The segment has {len(data)} points, but detecting drift needs {MIN_POINTS}.")
    if data.min() <= 0:
        return Insufficient(len(data), f"The segment has a value that is not positive, {data.min():g}.")
    arrays = drift_arrays(np.log(data)[None, :], least)
    total, error, found = float(arrays.total[0]), float(arrays.error[0]), bool(arrays.found[0])
    side: Side = "worse" if total * worse > 0 else "better"
    seen = f"{percent(total)} from the first {END_POINTS} to the last {END_POINTS} of {len(data)} nights"
    sentence = f"{seen}: {'drift' if found else 'no drift beyond noise'} ({math.expm1(ERRORS * error):.1%} allowed)."
    phi = float(arrays.autocorrelation[0])
    return Drift(found, side, math.expm1(total), error, phi, math.expm1(least), len(data), sentence)


@dataclass(frozen=True)
class DriftArrays:
    """The check of many series at once; every field has the shape [series], `total` and `error` are log ratios."""

    total: Array
    error: Array
    autocorrelation: Array
    found: NDArray[np.bool_]


def drift_arrays(logs: Array, least: float | Array) -> DriftArrays:
    """Computes the check for `logs` [series, nights], the logarithms of at least 20 points."""
    nights = logs.shape[1]
    first = median_of_rows(logs[:, :END_POINTS])
    total = median_of_rows(logs[:, -END_POINTS:]) - first
    # The medians represent the middles of the two ends.
    along = (np.arange(nights) - (END_POINTS - 1) / 2) / (nights - END_POINTS)
    rest = logs - first[:, None] - total[:, None] * along[None, :]
    middle = median_of_rows(rest)
    rest -= middle[:, None]
    scale = np.maximum(mad_scale(rest, np.zeros_like(middle)), LEAST_SCALE)
    correlation = lag_one(rest, scale)
    error = scale * np.sqrt(math.pi / 2 * 2 / END_POINTS * variance_factor(correlation))
    found = (np.abs(total) > ERRORS * error) & (np.abs(total) > least)
    return DriftArrays(total, error, correlation, found)


def lag_one(rest: Array, scale: Array) -> Array:
    """Returns the lag-1 autocorrelation [series] of `rest` [series, nights], limited to 0 .. 0.9.

    Outliers count as 3 `scale`. The bias in short series, -(1 + 3 r) / n, is corrected [Kendall 1954].
    """
    limited = np.clip(rest, -3 * scale[:, None], 3 * scale[:, None])
    squares = np.maximum((limited**2).sum(axis=1), np.finfo(np.float64).tiny)
    r = (limited[:, 1:] * limited[:, :-1]).sum(axis=1) / squares
    nights = rest.shape[1]
    corrected: Array = np.clip((r * nights + 1) / (nights - 3), 0.0, MOST_AUTOCORRELATION)
    return corrected


def variance_factor(correlation: Array) -> Array:
    """Returns the ratio of the variance of a mean of AR(1) values to that of independent ones: (1 + r) / (1 - r)."""
    factor: Array = (1 + correlation) / (1 - correlation)
    return factor
