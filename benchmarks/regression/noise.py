"""Simulated histories of a lab, in log units around 0: the effects of the night on the device, and of each session.

    point(night)            = code(night) + mode(load) + device + disturbed + median of 3 sessions' noise
    session(artifact, night) = code(artifact) + mode(load) + device + disturbed at times + its own noise
                               + its own disturbance at times

Each night has an artifact of its own, whose code is that night's. `device` is shared by all sessions of a night,
including those that are measured again, for baseline and candidate. The noise of a point is 1.5 % in all, and so is
that of one session. A load of an artifact (its file on the device) may be slow for as long as the file stays
there: in that night's sessions, and in those that are measured again with the same load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NIGHTS = 45
NOISE = 0.015
SESSIONS_PER_POINT = 3

#: Variance of the median of three normal values, in units of one value's [order statistics of the normal law].
MEDIAN_OF_3_VARIANCE = 1 - math.sqrt(3) / math.pi

#: How much slower a load in the rarer mode is.
MODE = 0.05

OUTLIER_LEAST, OUTLIER_MOST = 0.05, 0.30

#: In half of the cases, a disturbed night is still disturbed while sessions are measured again.
DISTURBANCE_STAYS = 0.5


@dataclass(frozen=True)
class Scenario:
    """One kind of history. Rates are per night or per session; changes are relative.

    `within` is the share of a point's variance that comes from its sessions; `autocorrelation` that of the
    nights' device effect; `device_drift` and `code_drift` are reached linearly over all nights; `step` is a change of
    the code in the share `stepped` of the series, on a night of 20 to 40; `device_step` is one of the device;
    `modes` is the share of loads that are slow by MODE.
    """

    name: str
    sentence: str
    within: float = MEDIAN_OF_3_VARIANCE
    outliers: float = 0.0
    autocorrelation: float = 0.0
    device_drift: float = 0.0
    code_drift: float = 0.0
    step: float = 0.0
    stepped: float = 0.0
    device_step: float = 0.0
    modes: float = 0.0


@dataclass(frozen=True)
class Histories:
    """`points`, `device`, `code` and `mode` are log values [series, nights], the last two of the night's artifact and
    its first load; `disturbed` [series, nights] is what an outlier added to a night; `step_night` [series] is the night
    of a step, -1 without one; `session_noise` is one session's.
    """

    scenario: Scenario
    points: Array
    device: Array
    code: Array
    mode: Array
    disturbed: Array
    step_night: NDArray[np.int64]
    session_noise: float


def histories(scenario: Scenario, series: int, random: np.random.Generator, nights: int = NIGHTS) -> Histories:
    """Draws `series` histories of `nights` nights."""
    session_noise = NOISE * math.sqrt(scenario.within / MEDIAN_OF_3_VARIANCE)
    device = _nightly(series, nights, NOISE * math.sqrt(1 - scenario.within), scenario.autocorrelation, random)
    device += math.log1p(scenario.device_drift) * np.linspace(0, 1, nights)
    step_night = random.integers(20, 40, series, endpoint=True)
    stepped = random.random(series) < scenario.stepped
    after = np.arange(nights)[None, :] >= step_night[:, None]
    code = math.log1p(scenario.step) * (after & stepped[:, None])
    code = code + math.log1p(scenario.code_drift) * np.linspace(0, 1, nights)
    device += math.log1p(scenario.device_step) * after
    disturbed = disturbances((series, nights), scenario.outliers, random)
    sessions = random.normal(0, session_noise, (series, nights, SESSIONS_PER_POINT))
    mode = modes((series, nights), scenario, random)
    points = code + mode + device + disturbed + np.median(sessions, axis=2)
    return Histories(scenario, points, device, code, mode, disturbed, np.where(stepped, step_night, -1), session_noise)


def pair_log_ratios(
    drawn: Histories,
    chosen: NDArray[np.int64],
    night: int,
    baselines: NDArray[np.int64],
    pairs: int,
    random: np.random.Generator,
    *,
    fresh: bool = False,
) -> tuple[Array, Array]:
    """Simulates sessions measured again that night for the series `chosen`, beside the artifacts of `baselines`.

    `fresh`: each session has a load of its own. Returns log(candidate / baseline) and the logs of the baseline
    sessions, each [chosen, pairs].
    """
    shape = (len(chosen), pairs)
    stays = random.random(len(chosen)) < DISTURBANCE_STAYS
    shared = drawn.device[chosen, night] + np.where(stays, drawn.disturbed[chosen, night], 0.0)
    sides = []
    for made in (baselines, np.full(len(chosen), night)):
        load = modes(shape, drawn.scenario, random) if fresh else drawn.mode[chosen, made][:, None]
        sides.append((shared + drawn.code[chosen, made])[:, None] + load + _session(shape, drawn, random))
    baseline, candidate = sides
    return candidate - baseline, baseline


def modes(shape: tuple[int, ...], scenario: Scenario, random: np.random.Generator) -> Array:
    """Returns log(1 + MODE) for the share of loads that are slow, else 0."""
    if not scenario.modes:
        return np.zeros(shape)
    return np.where(random.random(shape) < scenario.modes, math.log1p(MODE), 0.0)


def disturbances(shape: tuple[int, ...], rate: float, random: np.random.Generator) -> Array:
    """Returns log(1 + u), u uniform in 5 % to 30 %, at `rate` of the places and 0 elsewhere: slow-downs by background
    work.
    """
    sizes = np.log1p(random.uniform(OUTLIER_LEAST, OUTLIER_MOST, shape))
    hit: Array = np.where(random.random(shape) < rate, sizes, 0.0)
    return hit


def _session(shape: tuple[int, int], drawn: Histories, random: np.random.Generator) -> Array:
    noise = random.normal(0, drawn.session_noise, shape)
    disturbed: Array = noise + disturbances(shape, drawn.scenario.outliers, random)
    return disturbed


def _nightly(series: int, nights: int, deviation: float, autocorrelation: float, random: np.random.Generator) -> Array:
    """Returns stationary AR(1) noise [series, nights] with standard deviation `deviation`; autocorrelation 0 is white
    noise.
    """
    shocks = random.normal(0, deviation, (series, nights))
    for night in range(1, nights):
        kept = math.sqrt(1 - autocorrelation**2)
        shocks[:, night] = autocorrelation * shocks[:, night - 1] + kept * shocks[:, night]
    return shocks
