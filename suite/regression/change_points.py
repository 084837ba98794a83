"""Finds where the level of a history moved: splits by E-divisive on ranks, then merges the weakest splits away.

A window is split where the E-divisive statistic is largest. Critical values are tabulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from suite.regression.drift import lag_one, variance_factor
from suite.regression.log_ratios import Array, Direction, Side, Values, effect_floor, mad_scale, percent, worse_sign

LEAST_PART = 2
"""The fewest points in each part of a split."""

ALPHA = 0.01

BLOCK = 64

SHIFT_WORTH_A_SCAN = 2.8

#: Window length -> the value that max Q exceeds by chance with probability at most 0.01, from 5,000 to 100,000 draws
#: of `critical_values`, rounded up. Windows of fewer than 8 points have too few orders for any finding.
CRITICAL = {
    8: 1.167, 9: 1.317, 10: 1.441, 11: 1.543, 12: 1.630, 13: 1.705, 14: 1.645, 15: 1.643, 16: 1.697, 20: 1.778,
    24: 1.869, 36: 2.019, 54: 2.146, 80: 2.225, 120: 2.308, 180: 2.399, 270: 2.456, 400: 2.491, 800: 2.541,
}  # fmt: skip


@dataclass(frozen=True)
class Split:
    """The best split of a window: `at` is the index of the first value after it."""

    at: int
    statistic: float
    critical: float


def best_split(values: Array, least_before: int = LEAST_PART) -> Split | None:
    """Returns the split with the largest Q among those with `least_before` values before and 2 after, None if none.

    `values` [n] are in time order; `critical` is what Q must exceed so as not to be a chance finding.
    """
    n = len(values)
    if n < least_before + LEAST_PART:
        return None
    statistic = scan(ranks(values) / n)
    allowed = statistic[least_before : n - LEAST_PART + 1]
    at = least_before + int(np.argmax(allowed))
    return Split(at, float(statistic[at]), critical(n))


def shifts(windows: Array) -> Array:
    """Returns the largest standardised CUSUM of each of `windows` [windows, n].

    That is how far apart, in standard errors, the means of two parts can be. It is cheap; below `SHIFT_WORTH_A_SCAN`,
    a scan of the window finds nothing.
    """
    n = windows.shape[1]
    rest = windows - windows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.maximum((rest**2).mean(axis=1), np.finfo(np.float64).tiny))
    k = np.arange(1, n)
    sums = np.abs(np.cumsum(rest, axis=1)[:, :-1]) / np.sqrt(k * (n - k) / n)
    largest: Array = sums.max(axis=1) / deviation
    return largest


def split_at(values: Array, at: int) -> Split:
    """Returns the split of `values` [n] at a given place, with at least 2 values on each side."""
    n = len(values)
    return Split(at, float(scan(ranks(values) / n)[at]), critical(n))


def best_splits(windows: Array) -> tuple[NDArray[np.int64], Array]:
    """Returns the best split of each of `windows` [windows, n], and its Q over the critical value, each [windows].

    Meant for windows of some dozens of values, all at once: another window costs little.
    """
    n = windows.shape[1]
    single = windows.astype(np.float32)  # twice as fast, and exact for ranks of some dozens of values
    order = np.sign(single[:, :, None] - single[:, None, :])
    mean_ranks = (order.sum(axis=2) + np.float32(n + 1)) / np.float32(2 * n)
    distances = np.abs(mean_ranks[:, :, None] - mean_ranks[:, None, :])
    to_earlier = np.einsum("wij,ij->wi", distances, _below_diagonal()[:n, :n])
    statistic = _statistic(to_earlier.astype(np.float64), distances.sum(axis=2, dtype=np.float64))
    return statistic.argmax(axis=1), statistic.max(axis=1) / critical(n)


def scan(values: Array) -> Array:
    """Returns Q [n + 1] for a split before each index of `values` [n]; -inf if a part has fewer than 2 values."""
    statistic: Array = _statistic(_to_earlier(values)[None, :], _to_all(values)[None, :])[0]
    return statistic


def _statistic(to_earlier: Array, to_all: Array) -> Array:
    """Returns Q [windows, n + 1] from each value's sums of distances to earlier values and to all, [windows, n]."""
    windows, n = to_all.shape
    left = np.zeros((windows, n + 1))  # sum over pairs within the first k
    np.cumsum(to_earlier, axis=1, out=left[:, 1:])
    touching = np.zeros((windows, n + 1))
    np.cumsum(to_all, axis=1, out=touching[:, 1:])
    across = touching - 2 * left
    right = left[:, -1:] - left - across
    k = np.arange(LEAST_PART, n - LEAST_PART + 1)
    rest = n - k
    mean_parts = left[:, k] / (k * (k - 1) / 2) + right[:, k] / (rest * (rest - 1) / 2)
    statistic = np.full((windows, n + 1), -np.inf)
    statistic[:, k] = k * rest / n * (2 * across[:, k] / (k * rest) - mean_parts)
    return statistic


def ranks(values: Array) -> Array:
    """Returns ranks [n] from 1; equal values share their mean rank."""
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right")
    return (first + last + 1) / 2


def critical(n: int) -> float:
    """Returns the value that max Q of `n` ranks / n exceeds by chance with probability 0.01, interpolated in log n.

    Infinite below 8 values, constant beyond the table.
    """
    if n < min(CRITICAL):
        return math.inf
    lengths, values = _table()
    return float(np.interp(np.log(n), lengths, values))


def critical_values(lengths: tuple[int, ...], draws: int, seed: int) -> dict[int, float]:
    """Recomputes the table from `draws` random orders of each length."""
    random = np.random.default_rng(seed)
    found = {}
    for n in lengths:
        largest = [scan(random.permutation(n) / n).max() for _ in range(draws)]
        found[n] = float(np.quantile(largest, 1 - ALPHA))
    return found


@lru_cache(maxsize=1)
def _table() -> tuple[Array, Array]:
    return np.log(np.array(list(CRITICAL), dtype=np.float64)), np.array(list(CRITICAL.values()))


def _to_earlier(values: Array) -> Array:
    """Returns [n]: each value's sum of distances to those before it. Computed in blocks of rows that fit the cache."""
    n = len(values)
    sums = np.empty(n)
    for start in range(0, n, BLOCK):
        rows = values[start : start + BLOCK]
        distances = rows[:, None] - values[None, : start + len(rows)]
        np.abs(distances, out=distances)
        own = distances[:, start:] * _below_diagonal()[: len(rows), : len(rows)]
        sums[start : start + BLOCK] = distances[:, :start].sum(axis=1) + own.sum(axis=1)
    return sums


def _to_all(values: Array) -> Array:
    """Returns [n]: each value's sum of distances to all others. Computed from the sorted values' running sums."""
    n = len(values)
    order = np.argsort(values)
    ordered = values[order]
    running = np.cumsum(ordered)
    sums = np.empty(n)
    sums[order] = ordered * (2 * np.arange(1, n + 1) - n) + running[-1] - 2 * running
    return sums


@lru_cache(maxsize=1)
def _below_diagonal() -> NDArray[np.float32]:
    return np.tril(np.ones((BLOCK, BLOCK), dtype=np.float32), -1)


LEAST_BEFORE = 10
WINDOW = 32
STRIDE = 8
APART = 5


@dataclass(frozen=True)
class ChangePoint:
    """A move of the level before point `at`.

    `before` and `after` are the medians of the `nights_before` and `nights_after` points up to the next change on each
    side; `statistic` exceeded `critical`.
    """

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
    """Returns the change points of one segment's history, oldest first.

    Empty for fewer than 12 points, or if a value is not positive. Raises ValueError for numbers that are not finite, an
    unknown direction or a negative floor.
    """
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        raise ValueError("a history must have finite numbers")
    worse, least = worse_sign(direction), effect_floor(floor)
    if len(data) < LEAST_BEFORE + LEAST_PART or data.min() <= 0:
        return ()
    return tuple(_describe(data, worse, item) for item in _keep_needed(data, _candidates(data), least))


def _candidates(data: Array) -> list[int]:
    """Returns the places of possible changes, strongest first, none within five points of a stronger one."""
    rank = ranks(data)
    found = _halving(data, rank) + _sliding(data, rank)
    chosen: list[int] = []
    for _, at in sorted(found, reverse=True):
        if LEAST_BEFORE <= at <= len(data) - LEAST_PART and all(abs(at - other) >= APART for other in chosen):
            chosen.append(at)
    return sorted(chosen)


def _halving(data: Array, rank: Array) -> list[tuple[float, int]]:
    """Yields (Q over its critical value, place) of the best split of the whole history, then of its parts."""
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
    """Yields the same for short windows along the history.

    A step and its repair cancel out in the whole history, but not in a window that contains only one of them.
    """
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


def _keep_needed(data: Array, found: list[int], least: float) -> list[_Kept]:
    """Returns what remains after removing the weakest change one by one; each removed one is noise for the others."""
    logs = np.log(data)
    while found:
        edges = [0, *found, len(data)]
        parts = list(zip(edges[:-2], found, edges[2:], strict=True))
        moves = [abs(_move(logs, *part)) for part in parts]
        if min(moves) <= least:  # the cheap test first
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
    """Returns the variance factor of the residuals after each part between `edges` is brought to the same level."""
    rest = np.concatenate([logs[start:stop] - np.median(logs[start:stop]) for start, stop in pairwise(edges)])[None, :]
    scale = mad_scale(rest, np.zeros(1))
    return float(variance_factor(lag_one(rest, scale))[0]) if scale[0] > 0 else 1.0


def _describe(data: Array, worse: int, item: _Kept) -> ChangePoint:
    before, after = float(np.median(data[item.start : item.at])), float(np.median(data[item.at : item.stop]))
    side: Side = "worse" if (after > before) == (worse > 0) else "better"
    nights = (item.at - item.start, item.stop - item.at)
    return ChangePoint(item.at, side, before, after, *nights, item.split.statistic, item.needed)
