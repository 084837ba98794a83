"""The screen: tests whether tonight's point differs from the history of its own series and segment.

    h = 30 points without the 4 newest;  m = median(h);  s = max(biweight scale of h, 0.002 m)
    suspect if |y - m| > t(0.99, n - 1) s sqrt(1 + 1/n)  and  |log(y / m)| > log(1 + max(2.5 %, floor))

Median and scale are robust, because one bad night in the history must not hide the next one. The newest points are left
out (as long as ten others remain) because they may already be part of the step: one that was missed in its first night
would hide itself. The screen is meant to be sensitive: it suspects one point in forty on plain noise, and the sessions
that follow clear it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.regression.log_ratios import (
    Array,
    Direction,
    Side,
    Values,
    biweight_scale,
    effect_floor,
    median_of_rows,
    percent,
    worse_sign,
)

HISTORY_POINTS = 30
MIN_POINTS = 10
NEWEST_LEFT_OUT = 4
QUANTILE = 0.99
LEAST_SCALE = 0.002


@dataclass(frozen=True)
class Screened:
    """The numbers of one screening, in the metric's unit.

    `centre` and `scale` are the median and robust deviation of the history's `points` nights. A value beyond `centre`
    +- `margin` is unlike its history. `change` is value / centre - 1, and `floor` the least change that counts.
    """

    value: float
    centre: float
    scale: float
    margin: float
    change: float
    floor: float
    points: int

    def numbers(self) -> dict[str, float]:
        """Returns the fields for the store."""
        return {name: getattr(self, name) for name in ("centre", "scale", "margin", "change", "floor", "points")}


@dataclass(frozen=True)
class Suspect:
    """A value unlike its history, towards `side`: it has to be measured again."""

    side: Side
    numbers: Screened
    sentence: str


@dataclass(frozen=True)
class Clear:
    """A value like its history."""

    numbers: Screened
    sentence: str


@dataclass(frozen=True)
class Insufficient:
    """No conclusion is possible, as the history has too few or unusable `points`."""

    points: int
    sentence: str


Screening = Suspect | Clear | Insufficient


def screen(history: Values, value: float, direction: Direction, floor: float = 0.0) -> Screening:
    """Screens `value` against `history` (comparable points of one segment, oldest first, without `value`).

    Raises ValueError for numbers that are not finite, an unknown direction or a negative floor.
    """
    past = np.asarray(history, dtype=np.float64)
    if not (np.isfinite(past).all() and math.isfinite(value)):
        raise ValueError("the history and the value must be finite numbers")
    least = effect_floor(floor)
    if len(past) < MIN_POINTS:
        counted = f"{len(past)} comparable point{'' if len(past) == 1 else 's'}"
        return Insufficient(len(past), f"The series has {counted}, but {MIN_POINTS} are needed: measure more nights.")
    arrays = screen_arrays(past[None, :], np.array([value]), worse_sign(direction), least)
    centre = float(arrays.centre[0])
    if centre <= 0 or value <= 0:
        return Insufficient(len(past), f"The value {value:g} or its history's median {centre:g} is not positive.")
    margin, scale = float(arrays.margin[0]), float(arrays.scale[0])
    points = len(compared_with(past[None, :])[0])
    found = Screened(value, centre, scale, margin, value / centre - 1, math.expm1(least), points)
    shift = f"{percent(math.log(value / centre))} compared with the median of {points} nights"
    if arrays.worse[0] or arrays.better[0]:
        beyond = f"beyond the {margin / centre:.1%} that noise explains"
        return Suspect("worse" if arrays.worse[0] else "better", found, f"{shift}, {beyond}.")
    return Clear(found, f"{shift}, within noise ({margin / centre:.1%}) or below what counts ({found.floor:.1%}).")


@dataclass(frozen=True)
class ScreenArrays:
    """The screen of many series at once; every field has the shape [series]."""

    centre: Array
    scale: Array
    margin: Array
    worse: NDArray[np.bool_]
    better: NDArray[np.bool_]


def screen_arrays(history: Array, values: Array, worse: int | Array, least: float | Array) -> ScreenArrays:
    """Computes the screen for `history` [series, nights], at least 10 nights, and `values` [series].

    `worse` is +1 or -1, for each series or for all; `least` is the least log ratio that counts. A series whose median
    or value is not positive is neither better nor worse.
    """
    past = compared_with(history)
    n = past.shape[1]
    centre = median_of_rows(past)
    scale = np.maximum(biweight_scale(past, centre), LEAST_SCALE * np.abs(centre))
    margin = _t_quantile(n - 1) * scale * math.sqrt(1 + 1 / n)
    positive = (centre > 0) & (values > 0)
    ratio = np.divide(values, centre, out=np.ones_like(centre), where=positive)
    shift = np.log(ratio)
    unlike = (np.abs(values - centre) > margin) & (np.abs(shift) > least)
    towards_worse = np.sign(shift) == worse
    return ScreenArrays(centre, scale, margin, unlike & towards_worse, unlike & ~towards_worse)


def is_like(values: Array, centre: Array, margin: Array, least: float | Array) -> NDArray[np.bool_]:
    """Returns whether values are like a history's median: within the margin, or less apart than what counts."""
    apart = np.abs(values - centre)
    alike: NDArray[np.bool_] = (apart <= margin) | (apart <= np.expm1(least) * centre)
    return alike


def compared_with(history: Array) -> Array:
    """Returns the columns of `history` [series, nights] that a new value is compared with.

    They are at most 30, without the newest 4 as long as 10 remain.
    """
    end = max(min(MIN_POINTS, history.shape[1]), history.shape[1] - NEWEST_LEFT_OUT)
    return history[:, max(0, end - HISTORY_POINTS) : end]


@lru_cache(maxsize=64)
def _t_quantile(degrees: int) -> float:
    from scipy import special  # loading scipy.stats takes most of a second

    found: Any = special.stdtrit(degrees, QUANTILE)
    return float(found)
