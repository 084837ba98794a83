"""Times the judging of many long series: the screen of the last night, drift, and change points of each.

Measured in seconds of one core, as a single thread does the work: on an idle host, the clock shows the same. The
clock's time is reported as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.regression.noise import Scenario, histories
from suite.regression.change_points import change_points
from suite.regression.drift import total_drift
from suite.regression.screen import screen

SERIES = 10_000
NIGHTS = 365
LIMIT_SECONDS = 10.0

OnPart = Callable[[str], None]

#: A fifth of the series have a step, so that the search continues on both sides of it.
STEPPED = 0.2
MEDIAN_MS = 100.0


@dataclass(frozen=True)
class Speed:
    """Seconds of one core for each part, over `series` series of `nights` nights; `clock_s` is the elapsed time."""

    series: int
    nights: int
    screen_s: float
    drift_s: float
    change_points_s: float
    clock_s: float
    found: int

    @property
    def total_s(self) -> float:
        """All three parts."""
        return self.screen_s + self.drift_s + self.change_points_s


def measure(seed: int, series: int = SERIES, nights: int = NIGHTS, on_part: OnPart = lambda _name: None) -> Speed:
    """Judges simulated series one by one, as a night does, and times each part."""
    scenario = Scenario("speed", "outliers and steps of 5 %", outliers=0.03, step=0.05, stepped=STEPPED)
    data = MEDIAN_MS * np.exp(histories(scenario, series, np.random.default_rng(seed), nights).points)
    clock_begun = time.perf_counter()
    begun = time.process_time()
    for row in data:
        screen(row[:-1], row[-1], "lower")
    screened = time.process_time()
    on_part("screen")
    for row in data:
        total_drift(row, "lower")
    drifted = time.process_time()
    on_part("drift")
    found = sum(len(change_points(row, "lower")) for row in data)
    done = time.process_time()
    clock_s = time.perf_counter() - clock_begun
    on_part("change points")
    return Speed(series, nights, screened - begun, drifted - screened, done - drifted, clock_s, found)
