import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from suite.regression.log_ratios import biweight_scale, mad_scale, median_of_rows
from suite.regression.screen import Clear, Insufficient, Suspect, compared_with, screen, screen_arrays

FEW = settings(deadline=None, max_examples=60)
NOISE = [100.0 * (1 + 0.01 * math.sin(17.0 * i)) for i in range(40)]
HISTORIES = st.lists(st.floats(50.0, 150.0), min_size=14, max_size=50)
VALUES = st.floats(10.0, 500.0)


def side(found):
    return found.side if isinstance(found, Suspect) else None


def test_a_value_like_its_history_is_clear():
    assert isinstance(screen(NOISE, 100.5, "lower"), Clear)


def test_a_slow_night_is_suspected_of_being_worse():
    found = screen(NOISE, 110.0, "lower")
    assert side(found) == "worse"
    assert found.numbers.change == pytest.approx(110.0 / found.numbers.centre - 1)
    assert "+10" in found.sentence or "+9" in found.sentence


def test_a_fast_night_is_suspected_of_being_better():
    assert side(screen(NOISE, 90.0, "lower")) == "better"


def test_where_higher_is_better_a_high_night_is_better():
    assert side(screen(NOISE, 110.0, "higher")) == "better"
    assert side(screen(NOISE, 90.0, "higher")) == "worse"


@pytest.mark.parametrize("points", [0, 1, 9])
def test_fewer_than_ten_points_are_insufficient(points):
    found = screen([100.0] * points, 200.0, "lower")
    assert isinstance(found, Insufficient)
    assert found.points == points
    assert "10 are needed" in found.sentence


def test_ten_points_are_enough():
    assert side(screen(NOISE[:10], 200.0, "lower")) == "worse"


def test_a_steady_series_is_not_suspected_below_the_least_change_that_counts():
    steady = [100.0] * 20
    assert isinstance(screen(steady, 102.4, "lower"), Clear)
    assert side(screen(steady, 102.6, "lower")) == "worse"


def test_a_floor_is_a_relative_change_upwards_and_its_inverse_downwards():
    steady = [100.0] * 20
    assert side(screen(steady, 102.51, "lower")) == "worse"
    assert isinstance(screen(steady, 151.0, "lower", floor=0.52), Clear)
    assert side(screen(steady, 153.0, "lower", floor=0.52)) == "worse"
    assert isinstance(screen(steady, 66.0, "lower", floor=0.52), Clear)
    assert side(screen(steady, 65.0, "lower", floor=0.52)) == "better"


def test_a_history_without_any_noise_is_given_two_thousandths_of_it():
    assert screen([50.0] * 20, 50.0, "lower").numbers.scale == pytest.approx(0.1)


def test_a_metrics_own_floor_is_kept_where_it_is_larger():
    steady = [100.0] * 20
    assert isinstance(screen(steady, 106.0, "lower", floor=0.08), Clear)
    assert side(screen(steady, 109.0, "lower", floor=0.08)) == "worse"
    assert isinstance(screen(steady, 102.4, "lower", floor=0.001), Clear)


def test_one_disturbed_night_does_not_hide_the_next_regression():
    history = [*NOISE[:20], 900.0, *NOISE[20:30]]
    assert side(screen(history, 106.0, "lower")) == "worse"


def test_a_step_that_was_missed_does_not_become_its_own_history():
    history = [*NOISE[:30], 105.0, 105.0, 105.0, 105.0]
    found = screen(history, 105.0, "lower")
    assert side(found) == "worse"
    assert found.numbers.centre == pytest.approx(float(np.median(NOISE[:30])))


def test_only_the_last_thirty_before_the_newest_four_count():
    history = [500.0] * 20 + NOISE[:30] + [100.0] * 4
    assert screen(history, 106.0, "lower") == screen(NOISE[:30] + [100.0] * 4, 106.0, "lower")


@pytest.mark.parametrize(
    ("nights", "expected"), [(10, (0, 10)), (12, (0, 10)), (14, (0, 10)), (20, (0, 16)), (50, (16, 46))]
)
def test_what_a_value_is_compared_with(nights, expected):
    kept = compared_with(np.arange(nights, dtype=float)[None, :])[0]
    assert (kept[0], kept[-1] + 1) == expected


def test_the_margin_is_the_t_quantile_of_a_new_point():
    found = screen(NOISE, 100.0, "lower").numbers
    n = found.points
    assert n == 30
    assert found.margin == pytest.approx(scipy_stats.t.ppf(0.99, n - 1) * found.scale * math.sqrt(1 + 1 / n))


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_value_that_is_not_positive_is_insufficient(value):
    found = screen(NOISE, value, "lower")
    assert isinstance(found, Insufficient)
    assert "not positive" in found.sentence


def test_a_history_around_nothing_is_insufficient():
    assert isinstance(screen([0.0] * 20, 1.0, "lower"), Insufficient)


@pytest.mark.parametrize(
    ("history", "value", "direction", "floor", "message"),
    [
        ([*NOISE, math.nan], 1.0, "lower", 0.0, "finite"),
        (NOISE, math.inf, "lower", 0.0, "finite"),
        (NOISE, 1.0, "down", 0.0, "direction"),
        (NOISE, 1.0, "lower", -0.1, "floor"),
        (NOISE, 1.0, "lower", math.nan, "floor"),
    ],
)
def test_numbers_that_cannot_be_judged_are_an_error(history, value, direction, floor, message):
    with pytest.raises(ValueError, match=message):
        screen(history, value, direction, floor)


@FEW
@given(HISTORIES, VALUES, st.integers(-20, 20))
def test_the_unit_does_not_matter(history, value, power):
    factor = 2.0**power
    scaled = screen([factor * item for item in history], factor * value, "lower")
    assert type(scaled) is type(screen(history, value, "lower"))
    assert side(scaled) == side(screen(history, value, "lower"))


@FEW
@given(HISTORIES, VALUES)
def test_the_other_direction_is_the_other_side(history, value):
    opposite = {"worse": "better", "better": "worse", None: None}
    assert side(screen(history, value, "higher")) == opposite[side(screen(history, value, "lower"))]


@FEW
@given(HISTORIES, VALUES, st.randoms(use_true_random=False))
def test_the_order_of_older_nights_does_not_matter(history, value, random):
    older, newest = history[-34:-4], history[-4:]
    shuffled = list(older)
    random.shuffle(shuffled)
    assert side(screen([*shuffled, *newest], value, "lower")) == side(screen([*older, *newest], value, "lower"))


@FEW
@given(HISTORIES, VALUES, VALUES)
def test_a_worse_value_is_never_less_suspect(history, one, other):
    low, high = sorted((one, other))
    if side(screen(history, low, "lower")) == "worse":
        assert side(screen(history, high, "lower")) == "worse"


def test_many_series_at_once_are_judged_like_each_alone():
    random = np.random.default_rng(4)
    data = random.normal(100, 2, (200, 36)) * random.choice([1.0, 1.06, 0.94], (200, 36), p=[0.9, 0.05, 0.05])
    together = screen_arrays(data[:, :-1], data[:, -1], 1, math.log1p(0.025))
    alone = [screen(row[:-1], row[-1], "lower") for row in data]
    assert [side(found) == "worse" for found in alone] == together.worse.tolist()
    assert [side(found) == "better" for found in alone] == together.better.tolist()
    assert together.worse.any() and together.better.any() and not (together.worse & together.better).any()


@pytest.mark.parametrize("columns", [1, 2, 7, 30])
def test_medians_of_rows_are_medians(columns):
    data = np.random.default_rng(1).normal(size=(9, columns))
    assert median_of_rows(data) == pytest.approx(np.median(data, axis=1))


def biweight_by_hand(values):
    middle = float(np.median(values))
    mad = float(np.median([abs(value - middle) for value in values]))
    top = bottom = 0.0
    for value in values:
        u = (value - middle) / (9 * mad)
        if abs(u) < 1:
            top += (value - middle) ** 2 * (1 - u * u) ** 4
            bottom += (1 - u * u) * (1 - 5 * u * u)
    return math.sqrt(len(values) * top) / abs(bottom)


def test_the_biweight_scale_is_its_formula():
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 300.0]
    data = np.array([values])
    assert biweight_scale(data, np.median(data, axis=1))[0] == pytest.approx(biweight_by_hand(values))


def test_the_biweight_scale_is_less_noisy_than_the_mad_and_as_large():
    data = np.random.default_rng(2).normal(0, 1, (4000, 30))
    centre = np.median(data, axis=1)
    biweight, mad = biweight_scale(data, centre), mad_scale(data, centre)
    assert np.mean(biweight) == pytest.approx(1.0, abs=0.05)
    assert np.std(biweight) < 0.75 * np.std(mad)


def test_the_biweight_scale_of_equal_values_is_zero():
    data = np.array([[2.0] * 8 + [3.0]])
    assert biweight_scale(data, np.array([2.0]))[0] == 0.0
