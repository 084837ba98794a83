"""The first look: a few pairs of baseline and candidate tell most false suspects from the rest.

It may only end the matter, never decide it: the sessions of the first look are not used again in the confirmation, so
the p values that follow are those of fresh numbers, and only the series that came so far count as tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.regression import signed_rank
from suite.regression.direction import Direction, Side, effect_floor, percent, side_sign
from suite.regression.pairs import Pair, log_ratios

RULE = "first_look"
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
        """What is kept in the store."""
        return {"first_look_log_ratio": self.log_ratio, "first_look_pairs": len(self.pairs)}


def first_look(pairs: Sequence[Pair], direction: Direction, side: Side, floor: float = 0.0) -> FirstLook:
    """Judge the first pairs of a suspect. ValueError for fewer than 3 of them, bad numbers or a negative floor."""
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
    """[series]: whether log ratios [series, pairs], positive towards the suspected side, are worth going on."""
    found: NDArray[np.bool_] = signed_rank.estimate(towards) > SHARE_OF_FLOOR * least
    return found
