"""Pairs of sessions taken the same night: baseline and candidate in turn, A B B A, so that both saw the same device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.regression.direction import Direction, Side, side_sign


@dataclass(frozen=True)
class Pair:
    """The medians of two sessions taken one after the other, in the metric's unit; both positive."""

    baseline: float
    candidate: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.baseline, self.candidate)):
            raise ValueError(f"a pair holds two positive numbers, not {self.baseline} and {self.candidate}")


def log_ratios(pairs: Sequence[Pair], direction: Direction, side: Side) -> NDArray[np.float64]:
    """log(candidate / baseline) [1, pairs], positive towards `side`."""
    ratios = np.array([[math.log(pair.candidate / pair.baseline) for pair in pairs]])
    signed: NDArray[np.float64] = side_sign(direction, side) * ratios
    return signed
