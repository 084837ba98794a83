import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.unavailable import Unavailable
from suite import stats
from suite.stats import Interval

POSITIVE = st.floats(0.1, 1e6)
FEW = settings(deadline=None, max_examples=40)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two():
    assert stats.median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_median_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        stats.median([])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_sessions_have_no_interval(count):
    found = stats.median_interval([1.0] * count)
    assert found == Unavailable(f"{count} sessions, at least 3 are needed for an interval")


def test_equal_sessions_have_an_interval_of_width_zero():
    assert stats.median_interval([5.0, 5.0, 5.0]) == Interval(5.0, 5.0)


def test_three_sessions_have_the_interval_from_least_to_most():
    assert stats.median_interval([3.0, 1.0, 2.0]) == Interval(1.0, 3.0)


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=12))
def test_the_interval_holds_the_median_and_stays_within_the_data(medians):
    found = stats.median_interval(medians)
    assert min(medians) <= found.low <= stats.median(medians) <= found.high <= max(medians)


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=8), st.integers(0, 2**31))
def test_the_same_numbers_give_the_same_interval(medians, seed):
    assert stats.median_interval(medians, seed) == stats.median_interval(list(medians), seed)


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=8), st.sampled_from([0.5, 2.0, 1024.0]))
def test_the_interval_scales_with_the_unit(medians, factor):
    found, scaled = stats.median_interval(medians), stats.median_interval([value * factor for value in medians])
    assert scaled.low == pytest.approx(found.low * factor)
    assert scaled.high == pytest.approx(found.high * factor)


def covered(count, sessions, seed=11):
    """Share of intervals that hold the true median, over seeded log-normal noise of 2 %."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(count):
        found = stats.median_interval(list(100.0 * np.exp(0.02 * rng.standard_normal(sessions))))
        hits += found.low <= 100.0 <= found.high
    return hits / count


@pytest.mark.parametrize(("sessions", "low", "high"), [(3, 0.68, 0.82), (5, 0.89, 0.98), (12, 0.90, 0.99)])
def test_coverage_on_seeded_noise_is_what_the_docstring_says(sessions, low, high):
    assert low <= covered(400, sessions) <= high


def test_ratio_interval_covers_the_true_ratio_on_seeded_noise():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        a = list(50.0 * np.exp(0.02 * rng.standard_normal(7)))
        b = list(100.0 * np.exp(0.02 * rng.standard_normal(7)))
        found = stats.ratio_interval(a, b)
        hits += found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 300 <= 1.0


def test_ratio_of_equal_sessions_has_width_zero():
    assert stats.ratio_interval([3.0] * 3, [2.0] * 4) == Interval(1.5, 1.5)


def test_ratio_needs_three_sessions_on_both_sides_and_a_positive_reference():
    assert "2 sessions" in stats.ratio_interval([1.0] * 5, [1.0, 2.0]).reason
    assert "not positive" in stats.ratio_interval([1.0] * 3, [1.0, 0.0, 2.0]).reason


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (10, []),
        (11, ["p50"]),
        (63, ["p50"]),
        (64, ["p50", "p90"]),
        (129, ["p50", "p90"]),
        (130, ["p50", "p90", "p95"]),
        (661, ["p50", "p90", "p95"]),
        (662, ["p50", "p90", "p95", "p99"]),
    ],
)
def test_a_percentile_appears_only_with_enough_steps(count, names):
    assert list(stats.percentiles([float(i) for i in range(count)])) == names


def test_percentiles_are_those_of_the_data():
    assert stats.percentiles([float(i) for i in range(1001)]) == {
        "p50": 500.0,
        "p90": 900.0,
        "p95": 950.0,
        "p99": 990.0,
    }


def test_cv_divides_by_n_minus_one():
    assert stats.cv_percent([9.0, 11.0]) == pytest.approx(100 * 2**0.5 / 10)
    assert isinstance(stats.cv_percent([9.0]), Unavailable)
    assert isinstance(stats.cv_percent([0.0, 0.0]), Unavailable)


def test_phones_may_vary_more_than_boards():
    assert stats.unstable_above_percent("android") == 5.0
    assert {stats.unstable_above_percent(kind) for kind in ("local", "jetson", "raspberrypi", "linux")} == {3.0}


def test_stability_of_a_steady_device_is_a_hundred():
    assert stats.stability_score([10.0] * 3, [10.0] * 60) == 100.0


def test_stability_follows_the_formula():
    # CV of (10, 11) is 6.734 %, max/min - 1 is 0.1, and too few steps: the largest stands for p99.
    score = stats.stability_score([10.0, 11.0], [10.0, 10.0, 12.0])
    assert score == pytest.approx(0.5 * (100 - 67.34) + 0.25 * 95 + 0.25 * 80, abs=0.01)


def test_stability_uses_the_true_p99_with_enough_steps():
    steps = [10.0] * 999 + [1000.0]
    assert stats.stability_score([10.0, 10.0], steps) == 100.0


def test_stability_of_chaos_is_nought():
    assert stats.stability_score([1.0, 100.0], [1.0, 1.0, 1.0, 100.0]) == 0.0


def test_stability_of_one_session_is_unavailable():
    assert isinstance(stats.stability_score([1.0], [1.0] * 50), Unavailable)
