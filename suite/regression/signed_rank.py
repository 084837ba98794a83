"""Wilcoxon's exact signed-rank test for pairs of many series at once, with its estimate and interval.

If the code changed nothing, each pair's log ratio is as likely to be +d as -d, as the two sessions of a pair were taken
one after the other and in both orders. So all 2^n sign patterns are equally likely. This is a permutation test, whose
distribution is the same for every series and is counted once. Ranks keep a single disturbed session from deciding.
[Wilcoxon 1945; Hodges & Lehmann 1963; Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3.1 to 3.3]
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def p_greater(differences: Array) -> Array:
    """Returns one-sided p values [series] for the claim that `differences` [series, pairs] lie above 0.

    They are exact over all sign patterns if the sizes differ. Among equal sizes the negative ones get the larger ranks,
    and a zero counts as negative, so that p is never too small.
    """
    pairs = differences.shape[1]
    sizes = np.abs(differences)
    against = differences <= 0
    order = np.lexsort((against, sizes), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, pairs + 1)[None, :], axis=1)
    negative_sum = np.where(against, ranks, 0).sum(axis=1)
    p: Array = tail(pairs)[negative_sum]
    return p


@lru_cache(maxsize=64)
def tail(pairs: int) -> Array:
    """Returns P(sum of the ranks with one sign <= w) for w = 0 .. n(n+1)/2, counted over all 2^n patterns."""
    counts = np.zeros(pairs * (pairs + 1) // 2 + 1)
    counts[0] = 1.0
    for rank in range(1, pairs + 1):
        counts[rank:] = counts[rank:] + counts[:-rank]
    cumulated: Array = np.cumsum(counts) / 2.0**pairs
    return cumulated


def estimate(differences: Array) -> Array:
    """Returns the Hodges-Lehmann estimate [series]: the median of the means of all pairs of differences."""
    middle: Array = np.median(_walsh(differences), axis=1)
    return middle


def interval(differences: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Returns the exact interval (low [series], high [series]): the shifts that the two-sided test does not reject.

    Coverage is at least `confidence` with enough pairs (6 for 95 %); with fewer, this is the widest possible interval.
    """
    walsh = np.sort(_walsh(differences), axis=1)
    allowed = np.flatnonzero(tail(differences.shape[1]) <= (1 - confidence) / 2)
    outermost = int(allowed[-1]) if len(allowed) else 0
    return walsh[:, outermost], walsh[:, -1 - outermost]


def _walsh(differences: Array) -> Array:
    first, second = _halves(differences.shape[1])
    means: Array = (differences[:, first] + differences[:, second]) / 2
    return means


@lru_cache(maxsize=64)
def _halves(pairs: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(pairs)
