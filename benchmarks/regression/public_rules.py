"""The rules of public tools, reduced to their decisions, so that they can be run on the same numbers.

Each takes points [series, nights], where larger is worse, and returns [series, nights]: True where a new alert for a
regression would have gone out that night. Settings are the tools' defaults as far as they bear on one number a night.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.regression.piecewise import latest_step
from suite.regression.screen import MIN_POINTS

Array = NDArray[np.float64]
Alerts = NDArray[np.bool_]
Rule = Callable[[Array], Alerts]

HUNTER_P = 0.001
HUNTER_WINDOW = 50
PERFHERDER_WINDOW = 12
PERFHERDER_T = 7.0
PERFHERDER_EFFECT = 0.02
ASV_EFFECT = 0.05
HUD_EFFECT = 0.05
HUD_BASELINE = 7
BENCHER_QUANTILE = 0.99
BENCHER_WINDOW = 64


def bencher_t(points: Array) -> Alerts:
    """Compares one point with the t quantile of its history: mean + t(0.99, n - 1) standard deviations."""
    alerts = np.zeros(points.shape, dtype=bool)
    for night in range(MIN_POINTS, points.shape[1]):
        past = points[:, max(0, night - BENCHER_WINDOW) : night]
        limit = past.mean(axis=1) + special.stdtrit(past.shape[1] - 1, BENCHER_QUANTILE) * past.std(axis=1, ddof=1)
        alerts[:, night] = points[:, night] > limit
    return alerts


def pytorch_hud(points: Array) -> Alerts:
    """Alerts if the last two points are both more than 5 % above the median of the week before them."""
    broken = np.zeros(points.shape, dtype=bool)
    for night in range(MIN_POINTS, points.shape[1]):
        reference = np.median(points[:, max(0, night - 1 - HUD_BASELINE) : night - 1], axis=1)
        both = np.minimum(points[:, night], points[:, night - 1])
        broken[:, night] = both > (1 + HUD_EFFECT) * reference
    return _fresh(broken)


def perfherder(points: Array) -> Alerts:
    """Compares twelve points before with twelve after: Welch's t beyond 7, and a change over 2 %."""
    broken = np.zeros(points.shape, dtype=bool)
    window = PERFHERDER_WINDOW
    for night in range(2 * window - 1, points.shape[1]):
        after = points[:, night - window + 1 : night + 1]
        before = points[:, night - 2 * window + 1 : night - window + 1]
        error = np.sqrt((before.var(axis=1, ddof=1) + after.var(axis=1, ddof=1)) / window)
        shift = after.mean(axis=1) - before.mean(axis=1)
        broken[:, night] = (shift > PERFHERDER_T * error) & (shift > PERFHERDER_EFFECT * before.mean(axis=1))
    return _fresh(broken)


def asv(points: Array) -> Alerts:
    """Fits a piecewise constant (least absolute deviations, information criterion) with a last step up of over 5 %."""
    start, before, after = latest_step(points)
    alerts = np.zeros(points.shape, dtype=bool)
    known = np.full(points.shape[0], -10)
    for night in range(MIN_POINTS, points.shape[1]):
        at = start[:, night]
        rises = after[:, night] > (1 + ASV_EFFECT) * before[:, night]
        alerts[:, night], known = _new_position(rises & (at > 0), at, known)
    return alerts


def hunter(points: Array) -> Alerts:
    """Takes E-divisive's best split of the history so far, if Student's t test of its parts has p < 0.001."""
    series, nights = points.shape
    alerts = np.zeros(points.shape, dtype=bool)
    known = np.full(series, -10)
    distances = np.abs(points[:, :, None] - points[:, None, :])
    sums = np.zeros((series, nights + 1, nights + 1))
    sums[:, 1:, 1:] = distances.cumsum(axis=1).cumsum(axis=2)
    for night in range(MIN_POINTS, nights):
        at = _best_energy_split(sums, max(0, night + 1 - HUNTER_WINDOW), night + 1)
        rises = _t_test(points[:, : night + 1], at) < HUNTER_P
        alerts[:, night], known = _new_position(rises, at, known)
    return alerts


RULES: dict[str, Rule] = {
    "Hunter / otava": hunter,
    "asv": asv,
    "Perfherder": perfherder,
    "PyTorch HUD": pytorch_hud,
    "bencher t test": bencher_t,
}


def _best_energy_split(sums: Array, start: int, stop: int) -> NDArray[np.int64]:
    """Returns [series]: the split of points start .. stop - 1 with the largest energy statistic; `sums` are of
    distances.
    """
    diagonal = np.arange(start, stop + 1)
    base = sums[:, start, start]
    left = (sums[:, diagonal, diagonal] - 2 * sums[:, start, diagonal] + base[:, None]) / 2
    touching = sums[:, diagonal, stop] - sums[:, start, stop][:, None] - sums[:, diagonal, start] + base[:, None]
    across = touching - 2 * left
    right = left[:, -1:] - left - across
    k = np.arange(2, stop - start - 1)
    rest = stop - start - k
    mean_parts = left[:, k] / (k * (k - 1) / 2) + right[:, k] / (rest * (rest - 1) / 2)
    statistic = k * rest / (stop - start) * (2 * across[:, k] / (k * rest) - mean_parts)
    best: NDArray[np.int64] = start + 2 + statistic.argmax(axis=1)
    return best


def _t_test(points: Array, at: NDArray[np.int64]) -> Array:
    """Returns p [series] of Student's t test before and after `at`, 1 where the mean did not rise."""
    n = points.shape[1]
    after = np.arange(n)[None, :] >= at[:, None]
    counts = np.stack((at, n - at)).astype(np.float64)
    means = np.stack([np.where(part, points, 0).sum(axis=1) for part in (~after, after)]) / counts
    rest = points - np.where(after, means[1][:, None], means[0][:, None])
    variance = (rest**2).sum(axis=1) / (n - 2)
    t = (means[1] - means[0]) / np.sqrt(variance * (1 / counts).sum(axis=0))
    p: Array = np.where(t > 0, 2 * special.stdtr(n - 2, -np.abs(t)), 1.0)
    return p


def _fresh(broken: Alerts) -> Alerts:
    """Keeps only the first night of each stretch of alerts."""
    fresh = broken.copy()
    fresh[:, 1:] &= ~broken[:, :-1]
    return fresh


def _new_position(found: Alerts, at: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[Alerts, NDArray[np.int64]]:
    """Returns alerts over two nights away from the last alerted position, and the updated positions."""
    fresh = found & (np.abs(at - known) > 2)
    return fresh, np.where(fresh, at, known)
