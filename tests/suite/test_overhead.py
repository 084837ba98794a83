"""The comparison of sessions with and without the sampler."""

from __future__ import annotations

import pytest

from suite.checks import compare_step_times


def test_drift_between_rounds_does_not_hide_what_the_sampler_costs() -> None:
    without = [500.0, 510.0, 610.0, 640.0, 505.0]
    found = compare_step_times([value * 1.01 for value in without], without)
    assert found.percent == pytest.approx(1.0)
    assert found.ci95_percent == pytest.approx((1.0, 1.0))


def test_two_rounds_give_no_interval() -> None:
    assert compare_step_times([101.0, 100.0], [100.0, 100.0]).ci95_percent is None


def test_the_interval_spans_rounds_that_disagree() -> None:
    found = compare_step_times([98.0, 100.0, 103.0, 100.0, 102.0], [100.0] * 5)
    assert found.percent == pytest.approx(0.0)
    assert found.ci95_percent is not None
    low, high = found.ci95_percent
    assert low < 0 < high
