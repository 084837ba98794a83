import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.model.reading import Interval
from suite.regression import signed_rank
from suite.regression.confirmation import (
    AGAIN_PAIRS,
    ALPHA,
    FIRST_PAIRS,
    Pair,
    confirm,
    first_look,
    is_confirmed,
    is_repeated,
    log_ratios,
    repeat,
)

FEW = settings(deadline=None, max_examples=60)
RATIOS = st.lists(st.floats(0.5, 2.0), min_size=10, max_size=14)


def pairs_of(ratios, baseline=100.0):
    return [Pair(baseline * (1 + 0.001 * i), baseline * (1 + 0.001 * i) * ratio) for i, ratio in enumerate(ratios)]


def noisy(centre, count=10, spread=0.01):
    return [centre * (1 + spread * math.sin(5.3 * i + 1)) for i in range(count)]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_pair_needs_positive_numbers(bad):
    with pytest.raises(ValueError, match="positive"):
        Pair(1.0, bad)


def test_a_slower_candidate_is_found():
    found = confirm(pairs_of(noisy(1.06)), "lower", "worse")
    assert found.found
    assert found.p == pytest.approx(1 / 1024)
    assert found.ratio == pytest.approx(1.06, abs=0.01)
    assert found.interval.low <= found.ratio <= found.interval.high
    assert found.bootstrap.low > 1.025


def test_a_slower_candidate_is_no_finding_where_an_improvement_was_suspected():
    found = confirm(pairs_of(noisy(1.06)), "lower", "better")
    assert not found.found
    assert found.p == pytest.approx(1.0)
    assert found.ratio == pytest.approx(1.06, abs=0.01)


def test_more_steps_a_second_are_an_improvement_where_higher_is_better():
    assert confirm(pairs_of(noisy(1.06)), "higher", "better").found
    assert not confirm(pairs_of(noisy(1.06)), "higher", "worse").found


def test_a_change_that_is_sure_but_small_is_no_finding():
    found = confirm(pairs_of(noisy(1.015, spread=0.001)), "lower", "worse")
    assert found.p <= ALPHA
    assert not found.found


def test_the_metrics_own_floor_decides_where_it_is_larger():
    assert not confirm(pairs_of(noisy(1.06)), "lower", "worse", floor=0.08).found


def test_one_disturbed_session_does_not_make_a_finding_nor_hide_one():
    quiet = noisy(1.0)
    assert not confirm(pairs_of([*quiet[:9], 3.0]), "lower", "worse").found
    clear = noisy(1.06)
    assert confirm(pairs_of([*clear[:9], 0.999]), "lower", "worse").found


def test_a_device_that_slows_down_during_the_pairs_is_no_finding():
    pairs = [Pair(100.0 * 1.1**i, 100.0 * 1.1**i * ratio) for i, ratio in enumerate(noisy(1.0))]
    assert not confirm(pairs, "lower", "worse").found


@pytest.mark.parametrize("count", [0, 5, 9])
def test_fewer_than_ten_pairs_confirm_nothing(count):
    with pytest.raises(ValueError, match="10 pairs"):
        confirm(pairs_of([1.1] * count), "lower", "worse")


def test_pairs_without_any_difference_are_no_finding():
    found = confirm(pairs_of([1.0] * 10), "lower", "worse")
    assert (found.found, found.p, found.ratio) == (False, 1.0, pytest.approx(1.0))


@pytest.mark.parametrize(("ratio", "go_on"), [(1.05, True), (1.013, True), (1.011, False), (1.0, False), (0.95, False)])
def test_the_first_look_goes_on_above_half_of_what_counts(ratio, go_on):
    found = first_look(pairs_of([ratio] * FIRST_PAIRS), "lower", "worse")
    assert found.go_on is go_on
    assert found.log_ratio == pytest.approx(math.log(ratio))


def test_the_first_look_looks_towards_the_suspected_side():
    assert first_look(pairs_of([0.95] * FIRST_PAIRS), "lower", "better").go_on
    assert first_look(pairs_of([0.95] * FIRST_PAIRS), "higher", "worse").go_on


@pytest.mark.parametrize(("direction", "side"), [("lower", "better"), ("higher", "worse"), ("lower", "worse")])
def test_the_first_look_tells_the_candidates_ratio_whatever_the_side(direction, side):
    found = first_look(pairs_of([0.95] * FIRST_PAIRS), direction, side)
    assert found.log_ratio == pytest.approx(math.log(0.95))
    assert "-5.0 %" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "beyond"),
    [(1.0251, 1.2, True), (1.0249, 1.2, False), (0.8, 0.97557, True), (0.8, 0.97563, False)],
)
def test_an_interval_is_beyond_the_floor_as_far_down_as_up(low, high, beyond):
    found = confirm(pairs_of(noisy(1.06)), "lower", "worse")
    assert replace(found, interval=Interval(low, high)).beyond_floor is beyond


def test_the_first_look_needs_its_pairs():
    with pytest.raises(ValueError, match="3 pairs"):
        first_look(pairs_of([1.1] * 2), "lower", "worse")


@FEW
@given(RATIOS)
def test_p_is_that_of_scipys_exact_signed_rank_test(ratios):
    differences = np.log(ratios)
    sizes = np.abs(differences)
    if len(set(sizes)) < len(sizes) or not differences.all():
        return
    expected = scipy_stats.wilcoxon(differences, alternative="greater", method="exact").pvalue
    assert signed_rank.p_greater(differences[None, :])[0] == pytest.approx(expected)


def test_p_is_that_of_a_permutation_test_over_all_signs():
    differences = np.array([0.031, -0.012, 0.05, 0.044, 0.007, -0.002, 0.06])

    def positive_ranks(values, axis=-1):
        return np.where(values > 0, scipy_stats.rankdata(np.abs(values), axis=axis), 0).sum(axis=axis)

    expected = scipy_stats.permutation_test(
        (differences,), positive_ranks, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue
    assert signed_rank.p_greater(differences[None, :])[0] == pytest.approx(expected)


@FEW
@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]), min_size=5, max_size=10), st.integers(0, 1000))
def test_ties_and_zeros_never_make_p_smaller_than_breaking_them_by_lot_would(differences, seed):
    # Ranks drawn by lot among equals have the exact distribution, so a p that is never below theirs is valid.
    lot = np.random.default_rng(seed).uniform(-1e-6, 1e-6, len(differences))
    broken = scipy_stats.wilcoxon(np.array(differences) + lot, alternative="greater", method="exact").pvalue
    assert signed_rank.p_greater(np.array([differences]))[0] >= broken - 1e-12


def test_estimate_is_the_median_of_the_means_of_pairs():
    differences = [0.1, 0.5, -0.2, 0.3]
    means = [(a + b) / 2 for i, a in enumerate(differences) for b in differences[i:]]
    assert signed_rank.estimate(np.array([differences]))[0] == pytest.approx(float(np.median(means)))


@FEW
@given(RATIOS)
def test_the_interval_holds_the_shifts_that_the_test_does_not_refute(ratios):
    differences = np.log(ratios)[None, :]
    low, high = (float(end[0]) for end in signed_rank.interval(differences))
    assert low <= float(signed_rank.estimate(differences)[0]) <= high
    if len(set(differences[0])) == differences.shape[1]:
        assert signed_rank.p_greater(differences - (low - 1e-9))[0] <= 0.025
        assert signed_rank.p_greater(-(differences - (high + 1e-9)))[0] <= 0.025


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(8)
    low, high = signed_rank.interval(random.normal(0.03, 0.02, (4000, 10)))
    share = np.mean((low <= 0.03) & (high >= 0.03))
    exact = 1 - 2 * signed_rank.tail(10)[signed_rank.tail(10) <= 0.025].max()
    assert share == pytest.approx(exact, abs=5 * math.sqrt(0.05 * 0.95 / 4000))


def test_the_test_keeps_its_level_on_heavy_tails():
    random = np.random.default_rng(9)
    p = signed_rank.p_greater(random.standard_t(2, (40_000, 10)))
    count = int((p <= ALPHA).sum())
    expected = 40_000 * signed_rank.tail(10)[signed_rank.tail(10) <= ALPHA].max()
    assert abs(count - expected) < 5 * math.sqrt(expected)


@FEW
@given(RATIOS)
def test_swapping_baseline_and_candidate_swaps_the_sides(ratios):
    pairs = pairs_of(ratios)
    swapped = [Pair(pair.candidate, pair.baseline) for pair in pairs]
    assert confirm(pairs, "lower", "worse").found == confirm(swapped, "lower", "better").found


@FEW
@given(RATIOS, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(ratios, random):
    pairs = pairs_of(ratios)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    one, other = confirm(pairs, "lower", "worse"), confirm(shuffled, "lower", "worse")
    assert (one.found, one.p) == (other.found, other.p)
    assert one.ratio == pytest.approx(other.ratio)


@FEW
@given(RATIOS, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter_to_the_pairs(ratios, factor):
    one = confirm(pairs_of(ratios), "lower", "worse")
    other = confirm(pairs_of(ratios, baseline=100.0 * factor), "lower", "worse")
    assert one.ratio == pytest.approx(other.ratio)


def test_many_series_at_once_are_confirmed_like_each_alone():
    random = np.random.default_rng(3)
    ratios = np.exp(random.normal(0.03, 0.03, (100, 10)))
    together = is_confirmed(np.log(ratios), math.log1p(0.025))
    alone = [confirm(pairs_of(row), "lower", "worse").found for row in ratios]
    assert alone == together.tolist()
    assert 0 < sum(alone) < 100


@pytest.mark.parametrize(
    ("first", "again", "found"),
    [(1.06, 1.06, True), (1.06, 1.0, False), (1.0, 1.06, False), (1.06, 0.94, False), (1.022, 1.03, True)],
)
def test_a_repetition_needs_both_parts_and_all_pairs_together(first, again, found):
    once = confirm(pairs_of(noisy(first, spread=0.003)), "lower", "worse")
    assert repeat(once, pairs_of(noisy(again, AGAIN_PAIRS, spread=0.003)), "lower").found is found


def test_a_repetition_has_the_numbers_of_all_pairs_and_its_own():
    once = confirm(pairs_of(noisy(0.95)), "lower", "better")
    found = repeat(once, pairs_of(noisy(0.93, AGAIN_PAIRS)), "lower")
    every = np.log([*noisy(0.95), *noisy(0.93, AGAIN_PAIRS)])
    assert found.p == pytest.approx(scipy_stats.wilcoxon(every, alternative="less", method="exact").pvalue)
    assert found.ratio_again == pytest.approx(0.93, abs=0.003)
    assert found.ratio_again < found.ratio < 0.95
    assert found.interval.low <= found.ratio <= found.interval.high
    with pytest.raises(ValueError, match="20 pairs"):
        repeat(once, pairs_of([1.1] * 19), "lower")


def test_many_series_at_once_are_repeated_like_each_alone():
    random = np.random.default_rng(4)
    first, again = np.exp(random.normal(0.03, 0.02, (60, 10))), np.exp(random.normal(0.03, 0.02, (60, AGAIN_PAIRS)))
    together = is_repeated(np.log(first), np.log(again), math.log1p(0.025))
    alone = [
        repeat(confirm(pairs_of(a), "lower", "worse"), pairs_of(b), "lower").found
        for a, b in zip(first, again, strict=True)
    ]
    assert alone == together.tolist()
    assert 0 < sum(alone) < 60


def test_log_ratios_point_to_the_suspected_side():
    pair = [Pair(100.0, 110.0)]
    assert log_ratios(pair, "lower", "worse")[0, 0] == pytest.approx(math.log(1.1))
    assert log_ratios(pair, "higher", "worse")[0, 0] == pytest.approx(-math.log(1.1))
