import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.regression import change_points as energy_scan
from suite.regression.change_points import (
    best_split,
    best_splits,
    change_points,
    critical,
    critical_values,
    scan,
    shifts,
)

FEW = settings(deadline=None, max_examples=40)


def noise(nights, seed, deviation=0.015):
    return 100.0 * np.exp(np.random.default_rng(seed).normal(0, deviation, nights))


def stepped(nights, at, factor, seed=1):
    values = noise(nights, seed)
    values[at:] *= factor
    return values


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def statistic_by_definition(values, k):
    before, after = values[:k], values[k:]
    across = mean(abs(x - y) for x in before for y in after)
    within = mean(abs(x - y) for x, y in combinations(before, 2)) + mean(abs(x - y) for x, y in combinations(after, 2))
    return len(before) * len(after) / len(values) * (2 * across - within)


@FEW
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=14))
def test_the_scan_is_the_e_divisive_statistic_by_its_definition(values):
    found = scan(np.array(values))
    for k in range(2, len(values) - 1):
        assert found[k] == pytest.approx(statistic_by_definition(values, k), abs=1e-9)
    assert [k for k in range(len(values) + 1) if math.isinf(found[k])] == [0, 1, len(values) - 1, len(values)]


@FEW
@given(st.lists(st.floats(1, 100), min_size=8, max_size=20))
def test_the_best_split_is_the_best_of_all_by_brute_force(values):
    ranks = np.array([(sum(v < x for v in values) + sum(v <= x for v in values) + 1) / 2 for x in values]) / len(values)
    found = best_split(np.array(values))
    every = {k: statistic_by_definition(list(ranks), k) for k in range(2, len(values) - 1)}
    assert found.statistic == pytest.approx(max(every.values()), abs=1e-9)
    assert every[found.at] == pytest.approx(found.statistic, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("nights", [13, 24, 40])
def test_chance_exceeds_the_critical_value_as_rarely_as_it_should(nights):
    draws = 10_000
    random = np.random.default_rng(nights)
    count = sum(scan(random.permutation(nights) / nights).max() > critical(nights) for _ in range(draws))
    assert count <= 145  # 100 expected at most; a binomial count above 145 has a probability of 1e-5


@pytest.mark.parametrize("nights", [8, 10, 12, 14, 15, 16, 20, 36])
def test_chance_exceeds_the_critical_value_of_short_windows_as_rarely(nights):
    random = np.random.default_rng(nights)
    chunks = [random.permuted(np.tile(np.arange(float(nights)), (1000, 1)), axis=1) for _ in range(20)]
    count = sum(int((best_splits(chunk)[1] > 1).sum()) for chunk in chunks)
    assert count <= 262  # 200 expected at most; above 262 has a probability of 1e-5


def test_between_two_lengths_of_the_table_the_logarithm_decides_and_beyond_it_nothing():
    share = math.log(44 / 36) / math.log(54 / 36)
    low, high = energy_scan.CRITICAL[36], energy_scan.CRITICAL[54]
    assert critical(44) == pytest.approx(low + share * (high - low))
    assert critical(5000) == energy_scan.CRITICAL[800]


@pytest.mark.full
def test_the_table_is_what_its_function_makes():
    lengths = (12, 24, 80, 180)
    made = critical_values(lengths, 50_000, seed=5)
    for n in lengths:
        assert energy_scan.CRITICAL[n] == pytest.approx(made[n], rel=0.06)


@pytest.mark.full
@pytest.mark.parametrize("nights", [30, 65, 150, 330, 600])
def test_between_the_tables_lengths_chance_exceeds_as_rarely(nights):
    draws = 20_000
    random = np.random.default_rng(nights)
    count = sum(scan(random.permutation(nights) / nights).max() > critical(nights) for _ in range(draws))
    assert count <= 262  # 200 expected; above 262 has a probability of 1e-5


def test_many_windows_at_once_split_like_each_alone():
    windows = np.random.default_rng(3).normal(size=(40, 32)) + (np.arange(32) > 20)
    at, strength = best_splits(windows)
    alone = [best_split(window) for window in windows]
    assert at.tolist() == [split.at for split in alone]
    assert strength == pytest.approx([split.statistic / split.critical for split in alone], rel=1e-4)


def test_windows_of_equal_values_do_not_split():
    _, strength = best_splits(np.full((2, 32), 5.0))
    assert (strength <= 1).all()


def test_the_cheap_shift_is_the_largest_difference_of_means_in_standard_errors():
    values = np.random.default_rng(4).normal(size=25)
    k = range(1, 25)
    errors = [values.std() * math.sqrt(1 / n + 1 / (25 - n)) for n in k]
    means = [abs(values[:n].mean() - values[n:].mean()) for n in k]
    expected = max(difference / error for difference, error in zip(means, errors, strict=True))
    assert shifts(values[None, :])[0] == pytest.approx(expected)
    assert shifts(np.full((1, 25), 3.0))[0] == 0.0


def test_leaving_out_windows_without_a_shift_loses_no_change_point(monkeypatch):
    histories = [stepped(80, 50, 1.035, seed) for seed in range(150)]
    found = [change_points(values, "lower") for values in histories]
    assert 0 < sum(map(bool, found)) < 150
    monkeypatch.setattr("suite.regression.change_points.SHIFT_WORTH_A_SCAN", 0.0)
    assert [change_points(values, "lower") for values in histories] == found


def test_a_short_step_and_its_repair_do_not_hide_one_another():
    found = []
    for seed in range(30):
        values = noise(200, seed)
        values[90:100] *= 1.06
        found.append([change.side for change in change_points(values, "lower")])
    assert found.count(["worse", "better"]) >= 27


def test_no_order_of_few_points_is_a_finding():
    assert math.isinf(critical(7))
    assert best_split(np.array([1.0, 1.1, 1.2, 9.0, 9.1, 9.2, 9.3])).statistic < critical(7)
    assert best_split(np.array([1.0, 2.0, 3.0])) is None


@pytest.mark.parametrize(("direction", "factor", "side"), [
    ("lower", 1.05, "worse"), ("lower", 0.95, "better"), ("higher", 1.05, "better"), ("higher", 0.95, "worse"),
])  # fmt: skip
def test_a_step_is_found_where_it_is(direction, factor, side):
    (found,) = change_points(stepped(60, 35, factor), direction)
    assert abs(found.at - 35) <= 2
    assert found.side == side
    assert found.change == pytest.approx(factor - 1, abs=0.012)
    assert (found.nights_before, found.nights_after) == (found.at, 60 - found.at)
    assert found.statistic > found.critical
    assert side in str(found)


def test_changes_less_than_five_nights_apart_are_one():
    for apart in (3, 4, 5, 6):
        values = noise(60, 1, deviation=0.002)
        values[30:] *= 1.05
        values[30 + apart :] *= 1.10
        found = [change.at for change in change_points(values, "lower")]
        assert found == ([30, 30 + apart] if apart >= 5 else [found[0]]), apart
        assert 30 <= found[0] <= 30 + apart


def test_changes_are_placed_within_a_night_on_the_average():
    errors = []
    for seed in range(30):
        values = noise(200, seed)
        values[90:110] *= 1.05
        found = [change.at for change in change_points(values, "lower")]
        assert len(found) == 2
        errors += [abs(found[0] - 90), abs(found[1] - 110)]
    assert np.mean(errors) < 0.4


def test_a_step_and_its_repair_are_two_changes():
    values = stepped(90, 40, 1.06)
    values[60:] /= 1.06
    found = change_points(values, "lower")
    assert [change.side for change in found] == ["worse", "better"]
    assert abs(found[0].at - 40) <= 2 and abs(found[1].at - 60) <= 2


def test_a_step_is_found_within_five_nights():
    found = [change_points(stepped(45, 40, 1.06, seed), "lower") for seed in range(50)]
    assert sum(bool(changes) and abs(changes[-1].at - 40) <= 1 for changes in found) >= 36


def test_noise_alone_has_hardly_ever_a_change_point():
    found = sum(bool(change_points(noise(60, seed), "lower")) for seed in range(400))
    assert found <= 12  # 4 expected before the least effect is asked for; above 12 has a probability of 2e-4


def test_nights_that_resemble_one_another_are_not_taken_for_steps():
    random = np.random.default_rng(6)
    count = 0
    for _ in range(300):
        logs = random.normal(0, 0.015, 60)
        for night in range(1, 60):
            logs[night] = 0.6 * logs[night - 1] + 0.8 * logs[night]
        count += bool(change_points(100 * np.exp(logs), "lower"))
    assert count <= 10  # more than twice as many without the factor


def test_one_night_ten_times_as_slow_is_no_change_point():
    values = noise(60, 3)
    values[30] *= 10
    assert change_points(values, "lower") == ()


def test_a_change_below_the_floor_is_left_out():
    values = stepped(100, 50, 1.05)
    assert change_points(values, "lower", floor=0.08) == ()
    steady = np.concatenate((np.full(40, 100.0), np.full(40, 101.0)))
    assert change_points(steady, "lower") == ()


def test_a_steady_metric_shows_its_step():
    steady = np.concatenate((np.full(40, 100.0), np.full(5, 104.0)))
    (found,) = change_points(steady, "lower")
    assert (found.at, found.before, found.after) == (40, 100.0, 104.0)


def test_the_first_ten_points_hold_no_change_point():
    values = np.concatenate((np.full(6, 50.0), np.full(40, 100.0)))
    assert all(found.at >= 10 for found in change_points(values, "lower"))


@pytest.mark.parametrize("values", [[], [1.0] * 11, [0.0] * 30, [-1.0, *[2.0] * 30]])
def test_too_few_or_not_positive_points_have_none(values):
    assert change_points(values, "lower") == ()


@pytest.mark.parametrize(
    ("values", "direction", "message"), [([math.nan] * 20, "lower", "finite"), ([1.0], "up", "dir")]
)
def test_a_history_that_cannot_be_read_is_an_error(values, direction, message):
    with pytest.raises(ValueError, match=message):
        change_points(values, direction)


@FEW
@given(st.integers(0, 500), st.integers(-10, 10), st.floats(0.9, 1.1))
def test_the_unit_does_not_matter_to_change_points(seed, power, factor):
    values = stepped(40, 25, factor, seed)
    scaled = change_points(values * 2.0**power, "lower")
    assert [found.at for found in scaled] == [found.at for found in change_points(values, "lower")]


@FEW
@given(st.integers(0, 500), st.floats(0.9, 1.1))
def test_the_other_direction_names_the_other_side_of_the_same_changes(seed, factor):
    values = stepped(40, 25, factor, seed)
    swap = {"worse": "better", "better": "worse"}
    lower = [(found.at, swap[found.side]) for found in change_points(values, "lower")]
    assert lower == [(found.at, found.side) for found in change_points(values, "higher")]
