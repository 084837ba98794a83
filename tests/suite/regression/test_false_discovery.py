import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from suite.regression.verdict import q_values

P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


def test_an_example_worked_out_by_hand():
    # Sorted: .005 .011 .02 .04 .13; times 5/1 .. 5/5: .025 .0275 .0333 .05 .13; the running minimum from the right.
    found = q_values([0.02, 0.005, 0.13, 0.011, 0.04])
    assert found == pytest.approx((0.1 / 3, 0.025, 0.13, 0.0275, 0.05))


def test_a_larger_p_lends_its_smaller_q_to_the_one_before():
    # 0.03 * 3 / 1 = 0.09, but 0.031 * 3 / 3 = 0.031 covers all three.
    assert q_values([0.03, 0.0305, 0.031]) == pytest.approx((0.031, 0.031, 0.031))


def test_one_test_is_not_corrected():
    assert q_values([0.004]) == (0.004,)


def test_no_tests_have_no_q():
    assert q_values([]) == ()


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan")])
def test_what_is_no_p_value_is_an_error(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        q_values([0.5, bad])


@settings(deadline=None)
@given(P_VALUES)
def test_it_is_scipys_correction(p_values):
    assert q_values(p_values) == pytest.approx(tuple(scipy_stats.false_discovery_control(p_values, method="bh")))


@settings(deadline=None)
@given(P_VALUES)
def test_q_is_never_below_p_and_keeps_its_order(p_values):
    found = np.array(q_values(p_values))
    assert (found >= np.array(p_values) - 1e-12).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(found[order]) >= -1e-12).all()
