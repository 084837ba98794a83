"""Where the level of a history moved: E-divisive on ranks, split by split, then the weakest merged away.

Candidates are the best splits, beyond the critical value (0.01 by chance, energy_scan.py), of the whole history, of its
parts, and of windows that slide along it. Then the weakest is taken out, one after the other, until each, between
its neighbours,

    exceeds the critical value times (1 + r) / (1 - r), r being the lag-1 autocorrelation of what the splits leave
    moves the median by more than max(2.5 %, floor)

The factor keeps nights that resemble one another from being taken for steps. Ten points must come before the first
change and two after the last.

Change points are for reading a history and for finding the night of a change. They never raise an alarm: with the
code and the device in one number, they cannot know whose change it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from suite.regression.direction import Direction, Side, effect_floor, percent, worse_sign
from suite.regression.drift import lag_one, variance_factor
from suite.regression.energy_scan import (
    LEAST_PART,
    SHIFT_WORTH_A_SCAN,
    Split,
    best_split,
    best_splits,
    ranks,
    shifts,
    split_at,
)
from suite.regression.robust import Array, Values, mad_scale

RULE = "change_points"
VERSION = 1

LEAST_BEFORE = 10
WINDOW = 32
STRIDE = 8
APART = 5


@dataclass(frozen=True)
class ChangePoint:
    """The level moved before point `at`. `before` and `after` are medians of the `nights_before` and `nights_after`
    points up to the next change; `statistic` exceeded `critical`."""

    at: int
    side: Side
    before: float
    after: float
    nights_before: int
    nights_after: int
    statistic: float
    critical: float

    @property
    def change(self) -> float:
        """after / before - 1."""
        return self.after / self.before - 1

    def __str__(self) -> str:
        move = percent(math.log(self.after / self.before))
        return f"{move} at point {self.at}, from {self.before:g} to {self.after:g} ({self.side})"


def change_points(values: Values, direction: Direction, floor: float = 0.0) -> tuple[ChangePoint, ...]:
    """The change points of one segment's history, oldest first.

    Empty for fewer than 12 points, or where a value is not positive. ValueError for numbers that are not finite, an
    unknown direction or a negative floor.
    """
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        raise ValueError("a history holds finite numbers")
    worse, least = worse_sign(direction), effect_floor(floor)
    if len(data) < LEAST_BEFORE + LEAST_PART or data.min() <= 0:
        return ()
    return tuple(_described(data, worse, item) for item in _kept(data, _candidates(data), least))


def _candidates(data: Array) -> list[int]:
    """Places that may be changes: the strongest first, and none within five points of a stronger one."""
    rank = ranks(data)
    found = _halving(data, rank) + _sliding(data, rank)
    chosen: list[int] = []
    for _, at in sorted(found, reverse=True):
        if LEAST_BEFORE <= at <= len(data) - LEAST_PART and all(abs(at - other) >= APART for other in chosen):
            chosen.append(at)
    return sorted(chosen)


def _halving(data: Array, rank: Array) -> list[tuple[float, int]]:
    """(Q over its critical value, place): the whole history split where that is best, and its parts again."""
    found: list[tuple[float, int]] = []
    windows = [(0, len(data))]
    while windows:
        start, stop = windows.pop()
        if stop - start < LEAST_BEFORE or shifts(rank[None, start:stop])[0] < SHIFT_WORTH_A_SCAN:
            continue
        split = best_split(data[start:stop], LEAST_BEFORE if start == 0 else LEAST_PART)
        if split is not None and split.statistic > split.critical:
            at = start + split.at
            found.append((split.statistic / split.critical, at))
            windows += [(start, at), (at, stop)]
    return found


def _sliding(data: Array, rank: Array) -> list[tuple[float, int]]:
    """The same for short windows along the history: a step and its repair hide from the whole of it, whose two parts
    are then alike, but not from a window that holds one of the two."""
    if len(data) <= WINDOW:
        return []
    starts = np.append(np.arange(0, len(data) - WINDOW, STRIDE), len(data) - WINDOW)
    starts = starts[shifts(rank[_window(starts)]) >= SHIFT_WORTH_A_SCAN]
    if not len(starts):
        return []
    at, strength = best_splits(data[_window(starts)])
    return [(float(strength[i]), int(starts[i] + at[i])) for i in np.flatnonzero(strength > 1)]


def _window(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return starts[:, None] + np.arange(WINDOW)[None, :]


def _kept(data: Array, found: list[int], least: float) -> list[_Kept]:
    """What remains when the weakest are taken out, one after the other: each time it becomes noise for the others."""
    logs = np.log(data)
    while found:
        edges = [0, *found, len(data)]
        parts = list(zip(edges[:-2], found, edges[2:], strict=True))
        moves = [abs(_move(logs, *part)) for part in parts]
        if min(moves) <= least:  # the cheap question first
            del found[int(np.argmin(moves))]
            continue
        factor = _factor(logs, edges)
        kept = [_Kept(*part, split_at(data[part[0] : part[2]], part[1] - part[0]), factor) for part in parts]
        strength = [item.split.statistic / item.needed for item in kept]
        if min(strength) > 1:
            return kept
        del found[int(np.argmin(strength))]
    return []


@dataclass(frozen=True)
class _Kept:
    start: int
    at: int
    stop: int
    split: Split
    factor: float

    @property
    def needed(self) -> float:
        return self.split.critical * self.factor


def _move(logs: Array, start: int, at: int, stop: int) -> float:
    return float(np.median(logs[at:stop]) - np.median(logs[start:at]))


def _factor(logs: Array, edges: list[int]) -> float:
    """The variance factor of what is left when each part between `edges` is brought to the same level."""
    rest = np.concatenate([logs[start:stop] - np.median(logs[start:stop]) for start, stop in pairwise(edges)])[None, :]
    scale = mad_scale(rest, np.zeros(1))
    return float(variance_factor(lag_one(rest, scale))[0]) if scale[0] > 0 else 1.0


def _described(data: Array, worse: int, item: _Kept) -> ChangePoint:
    before, after = float(np.median(data[item.start : item.at])), float(np.median(data[item.at : item.stop]))
    side: Side = "worse" if (after > before) == (worse > 0) else "better"
    nights = (item.at - item.start, item.stop - item.at)
    return ChangePoint(item.at, side, before, after, *nights, item.split.statistic, item.needed)
