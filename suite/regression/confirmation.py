"""The first look and the confirmation: fresh pairs of baseline and candidate separate the code from the device.

Both sessions of a pair are taken one after the other in the same night, in alternating order (A B B A), so both meet
the same device. A few pairs clear most false suspects; ten fresh pairs are tested exactly; what they find is repeated
with other loads of the same programs.
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
    """The medians of two sessions taken one after the other, both positive, in the metric's unit."""

    baseline: float
    candidate: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.baseline, self.candidate)):
            raise ValueError(f"a pair must be two positive numbers, not {self.baseline} and {self.candidate}")


def log_ratios(pairs: Sequence[Pair], direction: Direction, side: Side) -> NDArray[np.float64]:
    """Returns log(candidate / baseline) [1, pairs], positive towards `side`."""
    ratios = np.array([[math.log(pair.candidate / pair.baseline) for pair in pairs]])
    signed: NDArray[np.float64] = side_sign(direction, side) * ratios
    return signed


FIRST_PAIRS = 3

#: A change is worth a confirmation if the estimate is more than this share of the least change that counts.
SHARE_OF_FLOOR = 0.5


@dataclass(frozen=True)
class FirstLook:
    """Whether to confirm. `log_ratio` is the estimated log(candidate / baseline), `needed` what it had to exceed."""

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
    """Judges the first pairs of a suspect. Raises ValueError for fewer than 3, bad numbers or a negative floor."""
    if len(pairs) < FIRST_PAIRS:
        raise ValueError(f"a first look takes {FIRST_PAIRS} pairs, but there are {len(pairs)}")
    towards = log_ratios(pairs, direction, side)
    least = effect_floor(floor)
    go_on = bool(promising(towards, least)[0])
    seen = float(signed_rank.estimate(towards)[0]) * side_sign(direction, side)
    outcome = "worth more sessions" if go_on else "too small for a confirmation"
    sentence = (
        f"Measured in turn {len(pairs)} times, the candidate differs from the baseline by {percent(seen)}: {outcome}."
    )
    return FirstLook(go_on, side, seen, least * SHARE_OF_FLOOR, tuple(pairs), sentence)


def promising(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series]: whether log ratios [series, pairs], positive towards the suspected side, warrant confirming."""
    found: NDArray[np.bool_] = signed_rank.estimate(towards) > SHARE_OF_FLOOR * least
    return found


CONFIRM_PAIRS = 10
ALPHA = 0.005


@dataclass(frozen=True)
class Confirmation:
    """The result of the pairs, before the correction for many series.

    `ratio` is candidate over baseline (Hodges-Lehmann), `interval` its exact 95 % interval, `bootstrap` the percentile
    bootstrap of the pairs' median ratio; `p` is one-sided, towards `side`; `floor` is the least relative change that
    counts. `found` means p <= 0.005 and a ratio beyond the floor. `go_on` needs only three quarters of the floor; then
    other loads of the same programs are measured.
    """

    found: bool
    go_on: bool
    side: Side
    p: float
    ratio: float
    interval: Interval
    bootstrap: Interval
    floor: float
    pairs: tuple[Pair, ...]

    @property
    def beyond_floor(self) -> bool:
        """Whether the whole interval is a change towards `side` that counts. Then p is at most 0.025."""
        return is_beyond_floor(self.interval, self.floor, self.p)

    def numbers(self) -> dict[str, float]:
        """Returns what the store keeps."""
        return {
            "p": self.p,
            "ratio": self.ratio,
            "ratio_low": self.interval.low,
            "ratio_high": self.interval.high,
            "bootstrap_low": self.bootstrap.low,
            "bootstrap_high": self.bootstrap.high,
            "pairs": len(self.pairs),
        }


def is_beyond_floor(interval: Interval, floor: float, p: float) -> bool:
    """Returns whether a whole interval is a change towards the suspected side that counts."""
    far = interval.low > 1 + floor or interval.high < 1 / (1 + floor)
    return far and p <= 0.5  # otherwise the change is towards the other side


def confirm(pairs: Sequence[Pair], direction: Direction, side: Side, floor: float = 0.0) -> Confirmation:
    """Tests fresh pairs of a suspect for a change towards `side`.

    Raises ValueError for fewer than 10 pairs (which cannot reach the required p with any margin) or a negative floor.
    """
    if len(pairs) < CONFIRM_PAIRS:
        raise ValueError(f"a confirmation takes {CONFIRM_PAIRS} pairs, but there are {len(pairs)}")
    towards = log_ratios(pairs, direction, side)
    least = effect_floor(floor)
    p = float(signed_rank.p_greater(towards)[0])
    plain = towards * side_sign(direction, side)
    return Confirmation(
        found=bool(is_confirmed(towards, least)[0]),
        go_on=bool(is_worth_repeating(towards, least)[0]),
        side=side,
        p=p,
        ratio=math.exp(float(signed_rank.estimate(plain)[0])),
        interval=_interval(plain),
        bootstrap=_bootstrap(plain[0]),
        floor=math.expm1(least),
        pairs=tuple(pairs),
    )


def is_confirmed(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series]: the decision for log ratios [series, pairs], positive towards the suspected side."""
    found: NDArray[np.bool_] = (signed_rank.p_greater(towards) <= ALPHA) & (signed_rank.estimate(towards) > least)
    return found


AGAIN_PAIRS = 20

#: One load's estimate needs only this share of the least change that counts, as all pairs together decide.
SHARE_TO_REPEAT = 0.75


@dataclass(frozen=True)
class Repeat:
    """The result of a confirmation together with pairs of other loads, each of a fresh copy of both programs.

    A program that is slow because of where it happens to lie in memory or a cache is slow in all sessions of one load.
    `p`, `ratio` and `interval` are those of all pairs, `ratio_again` and `interval_again` those of the new ones alone.
    `found`: each part by itself has the change (`is_worth_repeating`), and by all pairs together it counts.
    """

    found: bool
    p: float
    ratio: float
    interval: Interval
    ratio_again: float
    interval_again: Interval
    pairs: tuple[Pair, ...]

    def numbers(self) -> dict[str, float]:
        """Returns what the store keeps: the numbers of all pairs together."""
        return {
            "p": self.p,
            "ratio": self.ratio,
            "ratio_low": self.interval.low,
            "ratio_high": self.interval.high,
            "ratio_again": self.ratio_again,
            "pairs_again": len(self.pairs),
        }


def repeat(first: Confirmation, again: Sequence[Pair], direction: Direction, floor: float = 0.0) -> Repeat:
    """Tests a confirmation together with pairs of other loads. Raises ValueError for fewer than 20 of them."""
    if len(again) < AGAIN_PAIRS:
        raise ValueError(f"a repeated confirmation takes {AGAIN_PAIRS} pairs, but there are {len(again)}")
    least, sign = effect_floor(floor), side_sign(direction, first.side)
    towards, more = (log_ratios(pairs, direction, first.side) for pairs in (first.pairs, again))
    every = np.concatenate([towards, more], axis=1)
    return Repeat(
        found=bool(is_repeated(towards, more, least)[0]),
        p=float(signed_rank.p_greater(every)[0]),
        ratio=math.exp(float(signed_rank.estimate(sign * every)[0])),
        interval=_interval(sign * every),
        ratio_again=math.exp(float(signed_rank.estimate(sign * more)[0])),
        interval_again=_interval(sign * more),
        pairs=tuple(again),
    )


def is_repeated(
    towards: NDArray[np.float64], again: NDArray[np.float64], least: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Returns [series]: the final decision for log ratios [series, pairs] of the first load and of other loads."""
    both = is_worth_repeating(towards, least) & is_worth_repeating(again, least)
    found: NDArray[np.bool_] = both & is_confirmed(np.concatenate([towards, again], axis=1), least)
    return found


def is_worth_repeating(towards: NDArray[np.float64], least: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series]: whether pairs show a change of a size that may count."""
    return is_confirmed(towards, SHARE_TO_REPEAT * least)


def _interval(ratios: NDArray[np.float64]) -> Interval:
    """Returns the exact 95 % interval of a ratio from log ratios [1, pairs]."""
    low, high = (math.exp(float(end[0])) for end in signed_rank.interval(ratios))
    return Interval(low, high)


def _bootstrap(ratios: NDArray[np.float64]) -> Interval:
    found = stats.median_interval([math.exp(value) for value in ratios])
    if isinstance(found, Unavailable):  # ten positive numbers always have one
        raise ValueError(found.reason)
    return found
