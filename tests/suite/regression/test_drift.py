import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.regression.drift import Drift, drift_arrays, lag_one, total_drift, variance_factor
from suite.regression.screen import Clear, Insufficient, screen

FEW = settings(deadline=None, max_examples=60)


def drifting(total, nights=60, deviation=0.01, seed=1):
    random = np.random.default_rng(seed)
    return 100.0 * np.exp(random.normal(0, deviation, nights) + math.log1p(total) * np.linspace(0, 1, nights))


def correlated(series, nights, r, deviation, random):
    logs = random.normal(0, deviation, (series, nights))
    for night in range(1, nights):
        logs[:, night] = r * logs[:, night - 1] + math.sqrt(1 - r * r) * logs[:, night]
    return logs


def test_small_steps_that_add_up_are_found_though_the_screen_sees_none():
    values = drifting(0.06)
    found = total_drift(values, "lower")
    assert found.found and found.side == "worse"
    assert found.change == pytest.approx(0.06 * 50 / 59, abs=0.012)
    assert all(isinstance(screen(values[:n], values[n], "lower"), Clear) for n in range(50, 60))


def test_drift_downwards_is_better_where_lower_is():
    assert total_drift(drifting(-0.06), "lower").side == "better"
    assert total_drift(drifting(-0.06), "higher").side == "worse"


def test_a_level_history_does_not_drift():
    found = total_drift(drifting(0.0), "lower")
    assert isinstance(found, Drift) and not found.found
    assert "no drift beyond noise" in found.sentence


def test_drift_below_what_counts_is_not_found():
    assert not total_drift(drifting(0.02, deviation=0.001), "lower").found
    assert total_drift(drifting(0.05, deviation=0.001), "lower").found
    assert not total_drift(drifting(0.05, deviation=0.001), "lower", floor=0.08).found


def test_drift_is_a_total_beyond_four_of_its_errors():
    random = np.random.default_rng(12)
    logs = random.normal(0, 0.02, (400, 45)) + np.linspace(0, 1, 45) * random.uniform(0, 0.12, (400, 1))
    found = drift_arrays(logs, math.log1p(0.025))
    beyond = np.abs(found.total) / found.error
    assert ((beyond > 3.5) & (beyond < 4)).any() and ((beyond > 4) & (beyond < 4.5)).any()
    assert found.found.tolist() == (beyond > 4).tolist()


def test_a_straight_line_leaves_nothing_but_the_least_scale_to_doubt_it():
    line = 100.0 * np.exp(0.3 * np.linspace(0, 1, 50))
    found = total_drift(line, "lower")
    factor = float(variance_factor(np.array(found.autocorrelation)))
    assert found.error == pytest.approx(0.002 * math.sqrt(math.pi / 2 * 2 / 10 * factor))


def test_a_few_disturbed_nights_are_no_drift():
    values = drifting(0.0)
    values[-3:] *= 1.5
    assert not total_drift(values, "lower").found


@pytest.mark.parametrize("points", [0, 10, 19])
def test_fewer_than_twenty_points_are_insufficient_for_drift(points):
    found = total_drift([100.0] * points, "lower")
    assert isinstance(found, Insufficient) and found.points == points


def test_a_point_that_is_not_positive_is_insufficient_for_drift():
    assert isinstance(total_drift([100.0] * 30 + [0.0], "lower"), Insufficient)


def test_drift_of_numbers_that_are_not_finite_is_an_error():
    with pytest.raises(ValueError, match="finite"):
        total_drift([math.nan] * 30, "lower")


def test_noise_alone_hardly_ever_drifts():
    logs = np.random.default_rng(2).normal(0, 0.015, (20_000, 45))
    count = int(drift_arrays(logs, math.log1p(0.025)).found.sum())
    assert count <= 40  # at most 2 in 1000


def test_nights_that_resemble_one_another_seldom_drift():
    logs = correlated(5_000, 45, 0.6, 0.015, np.random.default_rng(3))
    assert drift_arrays(logs, math.log1p(0.025)).found.mean() < 0.02


def test_the_error_of_the_total_is_what_simulation_says():
    for r in (0.0, 0.5):
        logs = correlated(5_000, 60, r, 0.01, np.random.default_rng(4))
        found = drift_arrays(logs, 0.0)
        assert np.median(found.error) == pytest.approx(np.std(found.total), rel=0.25)


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
def test_the_autocorrelation_is_about_right_and_never_negative(r):
    logs = correlated(2_000, 60, r, 1.0, np.random.default_rng(5))
    found = lag_one(logs - logs.mean(axis=1, keepdims=True), np.ones(2_000))
    assert np.mean(found) == pytest.approx(max(r, 0.055), abs=0.05)
    assert found.min() >= 0.0


def test_the_variance_factor_is_that_of_a_mean_of_ar_1_values():
    random = np.random.default_rng(6)
    means = correlated(4_000, 400, 0.5, 1.0, random).mean(axis=1)
    assert np.var(means) * 400 == pytest.approx(float(variance_factor(np.array(0.5))), rel=0.1)


@FEW
@given(st.integers(0, 300), st.floats(-0.1, 0.1), st.integers(-10, 10))
def test_the_unit_does_not_matter_to_drift(seed, total, power):
    values = drifting(total, seed=seed)
    one, other = total_drift(values, "lower"), total_drift(values * 2.0**power, "lower")
    assert (one.found, one.side) == (other.found, other.side)
    assert one.change == pytest.approx(other.change)


@FEW
@given(st.integers(0, 300), st.floats(-0.1, 0.1))
def test_the_other_direction_is_the_other_side_of_drift(seed, total):
    values = drifting(total, seed=seed)
    lower, higher = total_drift(values, "lower"), total_drift(values, "higher")
    assert lower.found == higher.found
    assert {lower.side, higher.side} == {"worse", "better"}
