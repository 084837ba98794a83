"""Long traces are thinned and keep their extremes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.model.traces import kept


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400), st.integers(6, 60))
def test_thinning_keeps_first_last_lowest_and_highest_in_order_and_the_limit(values: list[float], limit: int) -> None:
    chosen = kept(values, limit)
    drawn = [values[index] for index in chosen]
    assert chosen[0] == 0 and chosen[-1] == len(values) - 1
    assert min(drawn) == min(values) and max(drawn) == max(values)
    assert len(chosen) <= limit
    assert list(chosen) == sorted(set(chosen))


def test_short_trace_is_kept_whole() -> None:
    assert list(kept([3.0, 1.0, 2.0], 6)) == [0, 1, 2]
    assert kept([], 6).size == 0


def test_spike_of_a_single_sample_among_a_million_is_kept() -> None:
    values = np.zeros(1_000_000)
    values[123_457] = 1.0
    assert 123_457 in kept(values, 100)


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="6 points"):
        kept([1.0], 5)
