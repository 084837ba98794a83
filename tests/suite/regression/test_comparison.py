import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from foundation.unavailable import Unavailable
from suite.regression.comparison import compare

BEFORE = [100.0, 101.0, 99.5, 100.4, 99.9]
FEW = settings(deadline=None, max_examples=25)


def times(factor):
    return [value * factor + 0.01 for value in BEFORE]


def test_slower_sessions_are_worse():
    found = compare(BEFORE, times(1.1), "lower")
    assert found.outcome == "worse"
    assert found.ratio == pytest.approx(1.1, abs=0.001)
    assert found.p == pytest.approx(scipy_stats.mannwhitneyu(BEFORE, times(1.1), method="exact").pvalue)
    assert found.interval.low <= found.ratio <= found.interval.high


def test_more_steps_a_second_are_better():
    assert compare(BEFORE, times(1.1), "higher").outcome == "better"
    assert compare(BEFORE, times(0.9), "lower").outcome == "better"


def test_sessions_that_overlap_are_the_same():
    assert compare(BEFORE, [100.2, 99.8, 100.9, 99.6, 100.1], "lower").outcome == "same"


def test_a_sure_difference_that_is_too_small_is_the_same():
    found = compare(BEFORE, times(1.02), "lower")
    assert (found.outcome, found.p < 0.05) == ("same", True)
    assert "2.5%" in found.sentence


def test_four_sessions_are_too_few_to_tell():
    found = compare(BEFORE[:4], times(2.0), "lower")
    assert found.outcome == "insufficient"
    assert isinstance(found.p, Unavailable)
    assert "--sessions 5" in found.sentence


def test_sessions_with_equal_values_are_tested_with_their_ties():
    before, after = [100.0, 100.0, 100.0, 104.0, 104.0], [104.0, 104.0, 108.0, 108.0, 108.0]
    expected = scipy_stats.mannwhitneyu(before, after, method="asymptotic").pvalue
    assert compare(before, after, "lower").p == pytest.approx(expected)


def test_equal_values_have_a_p_without_a_warning():
    assert compare([5.0] * 6, [5.0] * 6, "lower").outcome == "same"


@pytest.mark.parametrize(("before", "after"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [math.nan])])
def test_what_cannot_be_compared_is_an_error(before, after):
    with pytest.raises(ValueError, match="comparison needs"):
        compare(before, after, "lower")


@FEW
@given(st.floats(0.8, 1.25), st.integers(-8, 8))
def test_swapping_the_sides_swaps_the_outcome_and_the_unit_does_not_matter(factor, power):
    swap = {"worse": "better", "better": "worse", "same": "same"}
    unit = 2.0**power
    there = compare(BEFORE, times(factor), "lower").outcome
    back = compare([unit * value for value in times(factor)], [unit * value for value in BEFORE], "lower").outcome
    assert back == swap[there]
