"""The first look and the confirmation: fresh pairs of baseline and candidate separate the code from the device.

Sessions of a pair are taken one after the other on the same night, in turn (A B B A), so that both saw the same
device. A few pairs clear most false suspects; ten fresh ones are tested exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite import stats
from suite.regression import signed_rank
from suite.regression.log_ratios import Direction, Side, effect_floor, percent, side_sign


@dataclass(frozen=True)
class Pair:
    """The medians of two sessions taken one after the other, in the metric's unit; both positive."""

    baseline: float
    candidate: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.baseline, self.candidate)):
            raise ValueError(f"a pair holds two positive numbers, not {self.baseline} and {self.candidate}")


def log_ratios(pairs: Sequence[Pair], direction: Direction, side: Side) -> NDArray[np.float64]:
    """Returns log(candidate / baseline) [1, pairs], positive towards `side`."""
    ratios = np.array([[math.log(pair.candidate / pair.baseline) for pair in pairs]])
    signed: NDArray[np.float64] = side_sign(direction, side) * ratios
    return signed


FIRST_LOOK_RULE = "first_look"
VERSION = 1

FIRST_PAIRS = 3

#: A change is looked into when the estimate is more than this share of the least change that counts.
SHARE_OF_FLOOR = 0.5


@dataclass(frozen=True)
class FirstLook:
    """Whether to go on. `log_ratio` is the estimated log(candidate / baseline), `needed` what it had to exceed."""

    go_on: bool
    side: Side
    log_ratio: float
    needed: float
    pairs: tuple[Pair, ...]
    sentence: str

    def numbers(self) -> dict[str, float]:
        """Returns what the store keeps."""
        return {"first_look_log_ratio": self.log_ratio, "first_look_pairs": len(self.pairs)}


def first_look(pairs: Sequence[Pair], direction: Direction, side: Side, floor: float = 0.0) -> FirstLook:
    """Judges the first pairs of a suspect. ValueError for fewer than 3 of them, bad numbers or a negative floor."""
    if len(pairs) < FIRST_PAIRS:
        raise ValueError(f"a first look takes {FIRST_PAIRS} pairs, there are {len(pairs)}")
    towards = log_ratios(pairs, direction, side)
    least = effect_floor(floor)
    go_on = bool(promising(towards, least)[0])
    seen = float(signed_rank.estimate(towards)[0]) * side_sign(direction, side)
    outcome = "worth more sessions" if go_on else "too little to go on"
    sentence = f"Measured in turn {len(pairs)} times, the candidate is {percent(seen)} against the baseline: {outcome}."
    return FirstLook(go_on, side, seen, least * SHARE_OF_FLOOR, tuple(pairs), sentence)


def promising(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series]: whether log ratios [series, pairs], positive towards the suspected side, justify going on."""
    found: NDArray[np.bool_] = signed_rank.estimate(towards) > SHARE_OF_FLOOR * least
    return found


CONFIRMATION_RULE = "confirmation"

CONFIRM_PAIRS = 10
ALPHA = 0.005


@dataclass(frozen=True)
class Confirmation:
    """What the pairs say, before the correction for many series.

    `ratio` is candidate over baseline (Hodges-Lehmann), `interval` its exact 95 % interval, `bootstrap` the percentile
    bootstrap of the median ratio of the pairs; `p` is one-sided, towards `side`; `floor` the least relative change that
    counts. `found` is p <= 0.005 together with a ratio beyond the floor.
    """

    found: bool
    side: Side
    p: float
    ratio: float
    interval: Interval
    bootstrap: Interval
    floor: float
    pairs: tuple[Pair, ...]

    @property
    def beyond_floor(self) -> bool:
        """Whether the whole interval is a change towards `side` that counts; then p is at most 0.025."""
        far = self.interval.low > 1 + self.floor or self.interval.high < 1 / (1 + self.floor)
        return far and self.p <= 0.5  # else it is the other side

    def numbers(self) -> dict[str, float]:
        """What is kept in the store."""
        return {
            "p": self.p,
            "ratio": self.ratio,
            "ratio_low": self.interval.low,
            "ratio_high": self.interval.high,
            "bootstrap_low": self.bootstrap.low,
            "bootstrap_high": self.bootstrap.high,
            "pairs": len(self.pairs),
        }


def confirm(pairs: Sequence[Pair], direction: Direction, side: Side, floor: float = 0.0) -> Confirmation:
    """Tests fresh pairs of a suspect for a change towards `side`.

    ValueError for fewer than 10 pairs (which cannot reach the required p with any margin) or a negative floor.
    """
    if len(pairs) < CONFIRM_PAIRS:
        raise ValueError(f"a confirmation takes {CONFIRM_PAIRS} pairs, there are {len(pairs)}")
    towards = log_ratios(pairs, direction, side)
    least = effect_floor(floor)
    p = float(signed_rank.p_greater(towards)[0])
    plain = towards * side_sign(direction, side)
    low, high = (math.exp(float(end[0])) for end in signed_rank.interval(plain))
    return Confirmation(
        found=bool(is_confirmed(towards, least)[0]),
        side=side,
        p=p,
        ratio=math.exp(float(signed_rank.estimate(plain)[0])),
        interval=Interval(low, high),
        bootstrap=_bootstrap(plain[0]),
        floor=math.expm1(least),
        pairs=tuple(pairs),
    )


def is_confirmed(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series]: the decision for log ratios [series, pairs], positive towards the suspected side."""
    found: NDArray[np.bool_] = (signed_rank.p_greater(towards) <= ALPHA) & (signed_rank.estimate(towards) > least)
    return found


def _bootstrap(ratios: NDArray[np.float64]) -> Interval:
    found = stats.median_interval([math.exp(value) for value in ratios])
    if isinstance(found, Unavailable):  # ten positive numbers always have one
        raise ValueError(found.reason)
    return found
