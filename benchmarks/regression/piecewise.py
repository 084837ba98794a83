"""Piecewise constant fits with least absolute deviations, for the comparison with asv.

With L(r) the least sum of absolute deviations of a fit with r levels, r minimises

    4 r ln(n) / n + ln(L(r) / n + 0.001 |median|)

over r = 1 .. 4; a level has at least two points [asv, step_detect.py: Potts functional with a Schwarz criterion].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MOST_LEVELS = 4
LEAST_POINTS = 2
PENALTY = 4.0
LEAST_NOISE = 0.001


def latest_step(points: Array) -> tuple[Index, Array, Array]:
    """Fits the nights so far, night by night: (start of the last level, the level before it, the last level).

    Each [series, nights]; the start is 0 and the two levels equal where the fit has one level only.
    """
    series, nights = points.shape
    levels, costs = _intervals(points)
    best, back = _fits(costs, nights)
    start = np.zeros((series, nights), dtype=np.int64)
    before, after = np.zeros((series, nights)), np.zeros((series, nights))
    rows = np.arange(series)
    for night in range(1, nights):
        stop = night + 1
        noise = best[:, stop] / stop + LEAST_NOISE * np.abs(levels[0, stop])
        criterion = PENALTY * np.arange(1, MOST_LEVELS + 1)[:, None] * np.log(stop) / stop + np.log(noise)
        chosen = criterion.argmin(axis=0)
        last = back[chosen, stop, rows]
        previous = back[np.maximum(chosen - 1, 0), last, rows]
        start[:, night] = last
        after[:, night] = levels[last, stop, rows]
        before[:, night] = np.where(chosen > 0, levels[previous, last, rows], after[:, night])
    return start, before, after


def _intervals(points: Array) -> tuple[Array, Array]:
    """Returns median and absolute deviation of points start .. stop - 1: both [nights + 1, nights + 1, series]."""
    series, nights = points.shape
    levels = np.zeros((nights + 1, nights + 1, series))
    costs = np.full((nights + 1, nights + 1, series), np.inf)
    for start in range(nights):
        for stop in range(start + LEAST_POINTS, nights + 1):
            part = np.sort(points[:, start:stop], axis=1)
            n = stop - start
            levels[start, stop] = (part[:, (n - 1) // 2] + part[:, n // 2]) / 2
            costs[start, stop] = part[:, (n + 1) // 2 :].sum(axis=1) - part[:, : n // 2].sum(axis=1)
    return levels, costs


def _fits(costs: Array, nights: int) -> tuple[Array, Index]:
    """Returns the least cost [levels - 1, stop, series] and the start of that fit's last level, likewise."""
    series = costs.shape[2]
    best = np.full((MOST_LEVELS, nights + 1, series), np.inf)
    back = np.zeros((MOST_LEVELS, nights + 1, series), dtype=np.int64)
    best[0] = costs[0]
    for more in range(1, MOST_LEVELS):
        for stop in range(2 * LEAST_POINTS, nights + 1):
            total = best[more - 1, LEAST_POINTS : stop - 1] + costs[LEAST_POINTS : stop - 1, stop]
            back[more, stop] = LEAST_POINTS + total.argmin(axis=0)
            best[more, stop] = total.min(axis=0)
    return best, back
