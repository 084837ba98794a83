"""Computes how fast a device trains: at first, warmed up, and after minutes of heat.

Three straight pieces are fitted to the logarithms of step times: a level up to the knee, a ramp, and a level after it
(a ramp of length zero is a step). The session is divided into at most 60 spans with equal numbers of steps, each
represented by its median. Every knee and every end of the ramp is tried, and the pair with the smallest sum of squares
is taken. Steps resemble their neighbours, so the fit is compared with series that do too: a first-order autoregressive
process with the correlation of the residuals (corrected for what the fit takes out of it, + 5 (1 + rho) / n). There is
a knee if at most 1 % of such series without one fit as well. The 95 % interval of the slowdown comes from fits of
series with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite import stats
from suite.sessions.events import StepEvent

Array = NDArray[np.float64]

_SPANS = 60
_LEAST_SPANS = 20
_END = 3
"""The fewest spans before the knee, and after the ramp."""
_RESAMPLES = 999
_CHANCE = 0.01
_MATTERS = 0.02
"""A smaller slowdown does not matter."""
_STRONGEST = 0.98


@dataclass(frozen=True)
class Slowdown:
    """When steps became slower, `knee_s` to `settled_s` after the start of the first step, and by which factor."""

    knee_s: float
    settled_s: float
    factor: float
    interval: Interval


@dataclass(frozen=True)
class Pace:
    """The step times of a long session in ms: the first step, warmed up (before the knee), and sustained (after it).

    `slowdown` is None if no knee was found. Then `factor_at_most`, the upper end of a 95 % interval, is how much slower
    the second half may be than the first. `spans_s` and `spans_ms` are the fitted data, `fitted_ms` the fit.
    """

    first_ms: float
    warmed_ms: float
    sustained_ms: float
    slowdown: Slowdown | None
    factor_at_most: float
    time_lost: float
    spans_s: tuple[float, ...]
    spans_ms: tuple[float, ...]
    fitted_ms: tuple[float, ...]

    @property
    def speed_lost(self) -> float:
        """The share of the warmed-up speed that is lost in the steady state."""
        return 1 - self.warmed_ms / self.sustained_ms

    @property
    def steady(self) -> bool:
        """Whether a slowdown that matters can be excluded."""
        return self.slowdown is None and self.factor_at_most <= 1 + _MATTERS


def pace_of(steps: Sequence[StepEvent], seed: int = stats.DEFAULT_SEED) -> Pace | Unavailable:
    """Returns the pace of a session. `time_lost` is the share of its time that the warmed-up speed would have saved."""
    measured = [step for step in steps if step.phase == "measured"]
    if len(measured) < _LEAST_SPANS:
        return Unavailable(
            f"{len(measured)} measured steps, but finding a knee needs at least {_LEAST_SPANS}: measure longer"
        )
    groups = np.array_split(np.arange(len(measured)), min(_SPANS, len(measured)))
    latencies = np.array([step.latency_ms for step in measured])
    start = measured[0].t0_ns
    times = np.array([(step.t0_ns + step.t1_ns) / 2 - start for step in measured]) / 1e9
    spans_ms = np.array([np.median(latencies[group]) for group in groups])
    spans_s = np.array([times[group].mean() for group in groups])
    fit = _Fit.of(np.log(spans_ms))
    slowdown = fit.slowdown(spans_s, np.random.default_rng(seed))
    fitted = np.exp(fit.curve) if slowdown else np.full(len(groups), np.exp(np.median(np.log(spans_ms))))
    return Pace(
        first_ms=steps[0].latency_ms,
        warmed_ms=float(fitted[0]),
        sustained_ms=float(fitted[-1]),
        slowdown=slowdown,
        factor_at_most=_later_half(spans_ms),
        time_lost=max(0.0, 1 - float(fitted[0]) * len(latencies) / float(latencies.sum())) if slowdown else 0.0,
        spans_s=tuple(spans_s.tolist()),
        spans_ms=tuple(spans_ms.tolist()),
        fitted_ms=tuple(fitted.tolist()),
    )


def _later_half(spans_ms: Array) -> float:
    """Returns the upper end of the interval of second half over first half, by Welch's t on ten blocks of spans."""
    blocks = np.array([np.log(block).mean() for block in np.array_split(spans_ms, 10)])
    return float(np.exp(stats.welch_bounds(blocks[5:], blocks[:5])[1]))


@dataclass(frozen=True)
class _Candidates:
    """Ramps from `knees` to `ends` [c], as directions [c, n] of length one and mean zero; `rises`: their total rise."""

    knees: NDArray[np.int64]
    ends: NDArray[np.int64]
    directions: Array
    rises: Array


@lru_cache(maxsize=4)
def _candidates(spans: int) -> _Candidates:
    places = np.arange(spans)
    pairs = [(knee, end) for knee in range(_END - 1, spans - _END) for end in range(knee + 1, spans - _END + 1)]
    ramps = np.array([np.clip((places - knee) / (end - knee), 0, 1) for knee, end in pairs])
    ramps -= ramps.mean(1, keepdims=True)
    lengths = np.linalg.norm(ramps, axis=1)
    knees, ends = np.array(pairs).T
    return _Candidates(knees, ends, ramps / lengths[:, None], 1 / lengths)


@dataclass(frozen=True)
class _Fit:
    """The best fit of three pieces to a series `values` [n]."""

    values: Array
    best: int
    share: float
    curve: Array

    @classmethod
    def of(cls, values: Array) -> _Fit:
        """Fits by least squares. Only rising ramps are tried."""
        found = _candidates(len(values))
        along = found.directions @ values
        best = int(along.argmax())
        return cls(values, best, float(along[best]), values.mean() + along[best] * found.directions[best])

    def slowdown(self, spans_s: Array, random: np.random.Generator) -> Slowdown | None:
        """Returns when and by how much steps became slower, or None if that is chance or does not matter."""
        found, rest = _candidates(len(self.values)), self.values - self.curve
        rise = self.share * found.rises[self.best]
        if rise < np.log1p(_MATTERS):
            return None
        noise = _series_like(rest, random)
        if (1 + np.sum(_strength(noise) >= _strength(self.values[None])[0])) / (_RESAMPLES + 1) > _CHANCE:
            return None
        along = (self.curve + noise) @ found.directions.T
        chosen = along.argmax(1)
        rises = along[np.arange(_RESAMPLES), chosen] * found.rises[chosen]
        low, high = np.exp(np.quantile(rises, [(1 - stats.CONFIDENCE) / 2, (1 + stats.CONFIDENCE) / 2]))
        factor = float(np.exp(rise))
        return Slowdown(
            knee_s=float(spans_s[found.knees[self.best]]),
            settled_s=float(spans_s[found.ends[self.best]]),
            factor=factor,
            interval=Interval(min(float(low), factor), max(float(high), factor)),
        )


def _strength(series: Array) -> Array:
    """Returns how well the best ramp fits each series [m, n]: the root of what it explains over what it leaves."""
    centred = series - series.mean(1, keepdims=True)
    along = (centred @ _candidates(series.shape[1]).directions.T).max(1)
    left = np.maximum((centred**2).sum(1) - along**2, np.finfo(np.float64).tiny)
    return np.asarray(along / np.sqrt(left))


def _series_like(rest: Array, random: np.random.Generator) -> Array:
    """Draws series [resamples, n] with the scatter of `rest` [n] and the correlation of its neighbours."""
    count, squares = len(rest), float((rest[:-1] ** 2).sum())
    found = float((rest[1:] * rest[:-1]).sum()) / squares if squares > 0 else 0.0
    correlation = min(max(found + 5 * (1 + found) / count, 0.0), _STRONGEST)
    scatter = float(np.sqrt((rest**2).sum() / max(1, count - 4)))
    drawn = random.standard_normal((_RESAMPLES, count)) * scatter
    innovation = np.sqrt(1 - correlation**2)
    for place in range(1, count):
        drawn[:, place] = correlation * drawn[:, place - 1] + innovation * drawn[:, place]
    return np.asarray(drawn)
