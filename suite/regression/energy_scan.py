"""Where a window of a history splits best: the E-divisive statistic, on ranks, with tabulated critical values.

For a split of n values x into the first k (X) and the rest (Y)

    Q(k) = k (n - k) / n * (2 E|X - Y| - E|X - X'| - E|Y - Y'|)

with means over pairs of different values [Matteson & James 2014, eq. 5 to 7]. The best split is the k with the largest
Q. E-divisive then shuffles the window hundreds of times to see how large Q gets by chance. Here x are the ranks / n:
then chance gives every window of n different values the same distribution of max Q, so that it is simulated once
and kept as a table. That is the same permutation test at none of its cost, and a night that was ten times slower is
just the highest rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from suite.regression.robust import Array

LEAST_PART = 2
"""Points that each part of a split has."""

ALPHA = 0.01

BLOCK = 64

SHIFT_WORTH_A_SCAN = 2.8

#: Window length -> the value that max Q exceeds by chance with probability 0.01 at most, from 5,000 to 100,000 draws
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
    """The split with the largest Q among those with `least_before` values before it and 2 after, None if there is none.

    `values` [n] are in time order; `critical` is what Q must exceed to be no chance finding.
    """
    n = len(values)
    if n < least_before + LEAST_PART:
        return None
    statistic = scan(ranks(values) / n)
    allowed = statistic[least_before : n - LEAST_PART + 1]
    at = least_before + int(np.argmax(allowed))
    return Split(at, float(statistic[at]), critical(n))


def shifts(windows: Array) -> Array:
    """The largest standardised CUSUM of each of `windows` [windows, n]: how far apart, in standard errors, the means of
    two parts of it can be. Cheap; below `SHIFT_WORTH_A_SCAN` no scan of the window is a finding."""
    n = windows.shape[1]
    rest = windows - windows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.maximum((rest**2).mean(axis=1), np.finfo(np.float64).tiny))
    k = np.arange(1, n)
    sums = np.abs(np.cumsum(rest, axis=1)[:, :-1]) / np.sqrt(k * (n - k) / n)
    largest: Array = sums.max(axis=1) / deviation
    return largest


def split_at(values: Array, at: int) -> Split:
    """The split of `values` [n] at a place that is given, 2 values on each side."""
    n = len(values)
    return Split(at, float(scan(ranks(values) / n)[at]), critical(n))


def best_splits(windows: Array) -> tuple[NDArray[np.int64], Array]:
    """The best split of each of `windows` [windows, n], and its Q over the critical value, each [windows].

    For windows of some dozens of values, all at once: a window more costs little.
    """
    n = windows.shape[1]
    single = windows.astype(np.float32)  # ranks of some dozens of values are exact in it, and it is twice as fast
    order = np.sign(single[:, :, None] - single[:, None, :])
    mean_ranks = (order.sum(axis=2) + np.float32(n + 1)) / np.float32(2 * n)
    distances = np.abs(mean_ranks[:, :, None] - mean_ranks[:, None, :])
    to_earlier = np.einsum("wij,ij->wi", distances, _below_diagonal()[:n, :n])
    statistic = _statistic(to_earlier.astype(np.float64), distances.sum(axis=2, dtype=np.float64))
    return statistic.argmax(axis=1), statistic.max(axis=1) / critical(n)


def scan(values: Array) -> Array:
    """Q [n + 1] for a split before each index of `values` [n], -inf where a part would have fewer than 2 values."""
    statistic: Array = _statistic(_to_earlier(values)[None, :], _to_all(values)[None, :])[0]
    return statistic


def _statistic(to_earlier: Array, to_all: Array) -> Array:
    """Q [windows, n + 1] from each value's sum of distances to those before it and to all, [windows, n]."""
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
    """Ranks [n] from 1, equal values sharing the mean of theirs."""
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right")
    return (first + last + 1) / 2


def critical(n: int) -> float:
    """What max Q of `n` ranks / n exceeds by chance with probability 0.01, interpolated in log n.

    Infinite below 8 values, constant beyond the table.
    """
    if n < min(CRITICAL):
        return math.inf
    lengths, values = _table()
    return float(np.interp(np.log(n), lengths, values))


def critical_values(lengths: tuple[int, ...], draws: int, seed: int) -> dict[int, float]:
    """Make the table anew from `draws` random orders of each length."""
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
    """[n]: the sum of distances from each value to those before it, a block of rows at a time to stay in the cache."""
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
    """[n]: the sum of distances from each value to all of them, from their order and its running sums."""
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
