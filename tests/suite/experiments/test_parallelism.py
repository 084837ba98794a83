"""The model of a step's time and what is said of loops, on made-up numbers whose answer is known."""

from __future__ import annotations

import pytest

from foundation.unavailable import Json
from suite.experiments.answers.parallelism import fit_step_times, operations_of


def test_a_planted_model_is_found() -> None:
    planted = [(bytes_, ops, 2.0 + 3e-6 * bytes_ + 5e-9 * ops) for bytes_, ops in _SHAPES]
    found = fit_step_times(planted)
    assert found.fixed_ms == pytest.approx(2.0)
    assert found.ms_per_byte == pytest.approx(3e-6)
    assert found.ms_per_operation == pytest.approx(5e-9)
    assert max(map(abs, found.errors)) < 1e-9
    assert found.milliseconds(1e6, 1e9) == pytest.approx(2.0 + 3.0 + 5.0)


def test_no_part_of_a_step_takes_less_than_nothing() -> None:
    found = fit_step_times([(bytes_, ops, 5e-9 * ops - 1e-9 * bytes_) for bytes_, ops in _SHAPES])
    assert min(found.fixed_ms, found.ms_per_byte, found.ms_per_operation) >= 0


def test_errors_are_relative_to_the_time_of_a_step() -> None:
    exact = [(bytes_, ops, 2.0 + 3e-6 * bytes_ + 5e-9 * ops) for bytes_, ops in _SHAPES]
    found = fit_step_times([(bytes_, ops, 1.1 * taken) for bytes_, ops, taken in exact])
    assert found.fixed_ms == pytest.approx(2.2)


def test_three_steps_are_needed() -> None:
    with pytest.raises(ValueError, match="2 steps"):
        fit_step_times([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)])


def test_operations_grow_with_each_of_q_b_and_t() -> None:
    shape: dict[str, Json] = {"model": "tiny", "q": 2, "b": 3, "T": 16}
    one = operations_of(shape)
    assert operations_of({**shape, "q": 4}) == pytest.approx(2 * one)
    assert operations_of({**shape, "b": 6}) == pytest.approx(2 * one)
    layers = 2 * 64 * (2 * 64 + 2 * 32 + 3 * 128)
    assert one == 12 * (16 * 2 * (layers + 4 * 16 * 64) + 2 * 64 * 512)


_SHAPES = [(1e6, 1e8), (1e6, 1e9), (2e6, 3e9), (4e6, 1e10), (8e6, 2e9)]
