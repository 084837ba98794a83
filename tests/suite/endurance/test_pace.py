from __future__ import annotations

import numpy as np
import pytest

from foundation.unavailable import Unavailable
from suite.endurance.pace import Pace, pace_of
from suite.sessions.events import StepEvent

MS = 1_000_000


def steps(latencies, warm_up=2):
    """Back to back."""
    found, t_ns = [], 1_000_000
    for index, ms in enumerate(latencies):
        end = t_ns + round(ms * MS)
        phase = "warm_up" if index < warm_up else "measured"
        found.append(StepEvent(event="step", index=index, phase=phase, t0_ns=t_ns, t1_ns=end, losses=(1.0,)))
        t_ns = end
    return found


def noisy(levels, seed=0, percent=1.0):
    levels = np.asarray(levels, dtype=np.float64)
    return levels * np.exp(np.random.default_rng(seed).standard_normal(len(levels)) * percent / 100)


def found(latencies, **how):
    pace = pace_of(steps(latencies, **how))
    assert isinstance(pace, Pace)
    return pace


def test_a_step_down_in_speed_is_found_where_it_is():
    pace = found(noisy([100.0] * 400 + [130.0] * 800))
    assert pace.slowdown is not None
    assert pace.slowdown.knee_s == pytest.approx(40, abs=3)
    assert pace.slowdown.factor == pytest.approx(1.3, abs=0.01)
    assert pace.slowdown.interval.low < 1.3 < pace.slowdown.interval.high
    assert pace.slowdown.interval.high - pace.slowdown.interval.low < 0.05
    assert pace.warmed_ms == pytest.approx(100, rel=0.01)
    assert pace.sustained_ms == pytest.approx(130, rel=0.01)
    assert pace.speed_lost == pytest.approx(1 - 100 / 130, abs=0.01)
    assert pace.time_lost == pytest.approx(1 - 120_000 / 144_000, abs=0.01)
    assert not pace.steady


def test_a_ramp_has_a_knee_and_an_end():
    ramp = np.concatenate([np.full(300, 50.0), np.linspace(50, 80, 300), np.full(600, 80.0)])
    pace = found(noisy(ramp))
    assert pace.slowdown is not None
    assert pace.slowdown.knee_s == pytest.approx(15, abs=3)
    assert pace.slowdown.settled_s == pytest.approx(34.5, abs=4)
    assert pace.slowdown.factor == pytest.approx(1.6, rel=0.02)


def test_a_steady_session_has_no_knee_and_loses_nothing():
    pace = found(noisy([100.0] * 600))
    assert pace.slowdown is None
    assert pace.warmed_ms == pace.sustained_ms
    assert (pace.speed_lost, pace.time_lost) == (0.0, 0.0)
    assert pace.steady


def test_a_slowdown_too_small_to_matter_is_none():
    assert found(noisy([100.0] * 300 + [101.0] * 300, percent=0.1)).slowdown is None


def test_a_device_that_becomes_faster_has_no_slowdown():
    assert found(noisy([130.0] * 300 + [100.0] * 300)).slowdown is None


def test_without_a_knee_noise_may_still_hide_one():
    pace = found(noisy([100.0] * 40, percent=15, seed=4))
    assert pace.slowdown is None
    assert not pace.steady


def test_steps_that_are_alike_in_their_neighbourhood_rarely_make_a_knee():
    """A first-order autoregressive process of 0.8 from span to span, in 40 sessions."""
    knees = 0
    for seed in range(40):
        shocks = np.random.default_rng(seed).standard_normal(60)
        level = np.zeros(60)
        for place in range(1, 60):
            level[place] = 0.8 * level[place - 1] + 0.6 * shocks[place]
        knees += found(np.repeat(100 * np.exp(0.03 * level), 10), warm_up=0).slowdown is not None
    assert knees <= 6


def test_the_interval_covers_the_true_slowdown():
    """95 % of 40 sessions are 38."""
    covered = 0
    for seed in range(40):
        slowdown = found(noisy([100.0] * 200 + [120.0] * 400, seed=seed, percent=5)).slowdown
        covered += slowdown is not None and slowdown.interval.low <= 1.2 <= slowdown.interval.high
    assert covered >= 35


def test_the_first_step_counts_though_it_is_a_warm_up():
    assert found([500.0, 120.0, *[100.0] * 60]).first_ms == pytest.approx(500)


def test_too_few_steps_say_so():
    pace = pace_of(steps([100.0] * 12))
    assert isinstance(pace, Unavailable)
    assert "10 measured steps, but finding a knee needs at least 20" in pace.reason


def test_the_same_steps_give_the_same_interval():
    latencies = noisy([100.0] * 100 + [150.0] * 100)
    assert found(latencies) == found(latencies)
