import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite import stats

POSITIVE = st.floats(0.1, 1e6)
FEW = settings(deadline=None, max_examples=40)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two():
    assert stats.median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_median_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        stats.median([])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_sessions_have_no_interval(count):
    found = stats.session_interval([1.0] * count)
    assert found == Unavailable(f"{count} sessions, but an interval needs at least 3")


def test_equal_sessions_have_an_interval_of_width_zero():
    found = stats.session_interval([5.0, 5.0, 5.0])
    assert (found.low, found.high) == pytest.approx((5.0, 5.0))


@pytest.mark.parametrize("odd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_median_that_has_no_logarithm_gives_no_interval(odd):
    assert "not positive and finite" in stats.session_interval([1.0, odd, 2.0]).reason
    assert "not positive and finite" in stats.ratio_interval([1.0] * 3, [1.0, odd, 2.0]).reason


def test_sessions_too_far_apart_give_no_interval():
    assert "too far apart" in stats.session_interval([1e-300, 1.0, 1e300]).reason


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=12))
def test_the_interval_is_that_of_scipys_t_test_widened_to_hold_the_median(medians):
    found = stats.session_interval(medians)
    if len(set(medians)) > 1:
        theirs = scipy_stats.ttest_1samp(np.log(medians), 0.0).confidence_interval()
        low, high = np.exp([theirs.low, theirs.high])
        assert found.low == pytest.approx(min(low, stats.median(medians)), rel=1e-6)
        assert found.high == pytest.approx(max(high, stats.median(medians)), rel=1e-6)
    assert found.low <= stats.median(medians) <= found.high


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=8), st.lists(POSITIVE, min_size=3, max_size=8))
def test_the_interval_of_a_ratio_is_that_of_scipys_welch_test(own, reference):
    found = stats.ratio_interval(own, reference)
    if len(set(own)) > 1 and len(set(reference)) > 1:
        theirs = scipy_stats.ttest_ind(np.log(own), np.log(reference), equal_var=False).confidence_interval()
        point = stats.median(own) / stats.median(reference)
        assert found.low == pytest.approx(min(math.exp(theirs.low), point), rel=1e-6)
        assert found.high == pytest.approx(max(math.exp(theirs.high), point), rel=1e-6)


@FEW
@given(st.lists(POSITIVE, min_size=3, max_size=8), st.sampled_from([0.5, 2.0, 1024.0]))
def test_the_interval_scales_with_the_unit(medians, factor):
    found, scaled = stats.session_interval(medians), stats.session_interval([value * factor for value in medians])
    assert scaled.low == pytest.approx(found.low * factor)
    assert scaled.high == pytest.approx(found.high * factor)


TRUE_MS, NOISE, REPEATS = 100.0, 0.015, 20_000


def noisy(shape, kind, seed=20240916):
    """Session medians around TRUE_MS, [REPEATS, n]: of 1.5 % noise, or with one session in each 5 to 30 % slow."""
    rng = np.random.default_rng(seed)
    noise = NOISE * rng.standard_normal((REPEATS, shape))
    if kind == "normal":
        return TRUE_MS * (1 + noise)
    values = TRUE_MS * np.exp(noise)
    if kind == "one outlier":
        values[:, 0] *= rng.uniform(1.05, 1.3, REPEATS)
    return values


def coverage(bounds, true):
    low, high = bounds
    return float(np.mean((low <= math.log(true)) & (math.log(true) <= high)))


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
@pytest.mark.parametrize("sessions", [3, 5, 10])
def test_intervals_cover_what_they_are_labelled_with(sessions, kind):
    own, reference = noisy(sessions, kind), noisy(sessions, kind, seed=5)
    assert 0.93 <= coverage(stats.student_bounds(np.log(own)), TRUE_MS) <= 0.975
    ratio = stats.welch_bounds(np.log(own) + math.log(0.5), np.log(reference))
    assert 0.93 <= coverage(ratio, 0.5) <= 0.975


@pytest.mark.parametrize("sessions", [3, 5, 10])
def test_one_outlier_makes_an_interval_wide_and_not_wrong(sessions):
    own, reference = noisy(sessions, "one outlier"), noisy(sessions, "lognormal", seed=5)
    assert coverage(stats.student_bounds(np.log(own)), TRUE_MS) >= 0.95
    assert coverage(stats.welch_bounds(np.log(own), np.log(reference)), 1.0) >= 0.95


def test_three_sessions_have_an_honestly_wide_interval():
    low, high = stats.student_bounds(np.log(noisy(3, "lognormal")))
    assert np.median(high - low) == pytest.approx(0.062, abs=0.002)


def test_what_is_printed_is_what_was_simulated():
    own, reference = noisy(5, "lognormal")[:50], noisy(5, "lognormal", seed=5)[:50]
    lows, highs = stats.welch_bounds(np.log(own), np.log(reference))
    for low, high, mine, theirs in zip(lows, highs, own, reference, strict=True):
        found = stats.ratio_interval(mine.tolist(), theirs.tolist())
        assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_ratio_of_equal_sessions_has_width_zero():
    found = stats.ratio_interval([3.0] * 3, [2.0] * 4)
    assert (found.low, found.high) == pytest.approx((1.5, 1.5))


def test_ratio_needs_three_sessions_on_both_sides():
    assert "2 sessions" in stats.ratio_interval([1.0] * 5, [1.0, 2.0]).reason


def test_the_bootstrap_of_ten_values_stays_within_them_and_is_the_same_every_time():
    values = noisy(10, "lognormal")[0].tolist()
    found = stats.median_interval(values)
    assert min(values) < found.low < stats.median(values) < found.high < max(values)
    assert found == stats.median_interval(list(values))
    assert stats.median_interval([5.0] * 10) == Interval(5.0, 5.0)


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
