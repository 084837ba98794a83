"""The confirmation: ten fresh pairs, tested exactly. It tells the code from the device, since both sessions of a pair
were taken one after the other on the same device.

Found, when both hold:
    p <= 0.005, one-sided signed-rank test of log(candidate / baseline)   (ten pairs can reach 1/1024)
    the Hodges-Lehmann estimate of the ratio is beyond 1 + max(2.5 %, floor)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Unavailable
from suite import stats
from suite.regression import signed_rank
from suite.regression.direction import Direction, Side, effect_floor, side_sign
from suite.regression.pairs import Pair, log_ratios
from suite.stats import Interval

RULE = "confirmation"
VERSION = 1

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
        """Whether all of the interval is a change towards `side` that counts: for p to be so, at most 0.025."""
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
    """Test fresh pairs of a suspect for a change towards `side`.

    ValueError for fewer than 10 pairs (fewer cannot reach the p that is asked for with any margin) or a negative floor.
    """
    if len(pairs) < CONFIRM_PAIRS:
        raise ValueError(f"a confirmation takes {CONFIRM_PAIRS} pairs, there are {len(pairs)}")
    towards = log_ratios(pairs, direction, side)
    least = effect_floor(floor)
    p = float(signed_rank.p_greater(towards)[0])
    plain = towards * side_sign(direction, side)
    low, high = (math.exp(float(end[0])) for end in signed_rank.interval(plain))
    return Confirmation(
        found=bool(confirmed(towards, least)[0]),
        side=side,
        p=p,
        ratio=math.exp(float(signed_rank.estimate(plain)[0])),
        interval=Interval(low, high),
        bootstrap=_bootstrap(plain[0]),
        floor=math.expm1(least),
        pairs=tuple(pairs),
    )


def confirmed(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """[series]: the decision for log ratios [series, pairs] that are positive towards the suspected side."""
    found: NDArray[np.bool_] = (signed_rank.p_greater(towards) <= ALPHA) & (signed_rank.estimate(towards) > least)
    return found


def _bootstrap(ratios: NDArray[np.float64]) -> Interval:
    found = stats.median_interval([math.exp(value) for value in ratios])
    if isinstance(found, Unavailable):  # ten positive numbers always have one
        raise ValueError(found.reason)
    return found
