"""The speed-ups of loops and the model of a step's time, on made-up numbers whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from foundation.unavailable import Json
from reports.model.experiment import Answer
from reports.model.measurement import Measurement
from suite.experiments.answers.parallelism import StepWork, answer, fit_step_times, work_of
from tests.support.suite.made_material import made_material, made_measurement


def loop(name: str, on: float, off: float, model: str = "smollm2-135m", **shape: Any) -> list[Measurement]:
    """A step with both loops on, and with one of them off."""
    of: dict[str, Any] = {"model": model, "quant": "fp32", "q": 1, "b": 1, **shape}
    both = made_measurement([on, 1.01 * on, 0.99 * on], **of)
    return [both, made_measurement([off, 1.01 * off, 0.99 * off], **(of | {name: False}))]


def answer_of(shapes: Sequence[Measurement], largest: Sequence[Measurement] = ()) -> Answer:
    return answer(made_material("parallelism", measurements={"shapes": shapes, "largest": largest}), "jetson")


def test_a_loop_fades_where_no_larger_step_gains_whatever_the_model() -> None:
    small = [step for T, off in ((16, 130), (64, 115), (128, 105)) for step in loop("inner_parallel", 100, off, T=T)]
    large = loop("inner_parallel", 1000, 1040, model="tinyllama-1.1b", T=16)
    found = answer_of([*small, *large], loop("inner_parallel", 9000, 12600, model="llama-2-7b", T=32)).sentence
    assert "1.40 times as fast (up to 2 are claimed) with q=1 b=1 T=32 in fp32 (llama-2-7b)" in found
    assert "1.04 times with q=1 b=1 T=16 in fp32 (tinyllama-1.1b)" in found
    assert "less than 1.1 times from 256 forward tokens on" in found


def test_the_usual_models_settings_are_lines_and_other_models_are_points() -> None:
    usual = [step for T in (16, 64) for step in loop("inner_parallel", 100, 120, T=T)]
    picture = answer_of([*usual, *loop("outer_parallel", 100, 90, "tinyllama-1.1b", q=4, T=32)]).picture
    assert picture is not None
    assert [(curve.name, curve.look, curve.x) for curve in picture.curves] == [
        ("inner loop, fp32", "line", (32.0, 128.0)),
        ("outer loop, tinyllama-1.1b", "points", (256.0,)),
    ]


def test_steps_with_a_loop_off_are_not_fitted() -> None:
    shapes = [step for T in (16, 32, 64, 128) for step in loop("inner_parallel", 2.0 * T, 9.0 * T, T=T)]
    (fit,) = (table for table in answer_of(shapes).evidence if table.title.startswith("What a step's"))
    (row,) = fit.rows
    assert float(str(row[-1])) < 15


def planted(work: StepWork) -> float:
    return 2.0 + 3e-6 * work.weight_bytes + 5e-9 * work.frozen_operations + 2e-8 * work.other_operations


def test_a_planted_model_is_found() -> None:
    found = fit_step_times([(work, planted(work)) for work in _WORK])
    assert found.fixed_ms == pytest.approx(2.0)
    assert found.ms_per_byte == pytest.approx(3e-6)
    assert found.ms_per_frozen_operation == pytest.approx(5e-9)
    assert found.ms_per_other_operation == pytest.approx(2e-8)
    assert max(map(abs, found.errors)) < 1e-9
    assert found.milliseconds(StepWork(1e6, 1e9, 1e8)) == pytest.approx(2.0 + 3.0 + 5.0 + 2.0)


def test_no_part_of_a_step_takes_less_than_nothing() -> None:
    found = fit_step_times([(work, 5e-9 * work.frozen_operations - 1e-9 * work.weight_bytes) for work in _WORK])
    parts = (found.fixed_ms, found.ms_per_byte, found.ms_per_frozen_operation, found.ms_per_other_operation)
    assert min(parts) >= 0


def test_errors_are_relative_to_the_time_of_a_step() -> None:
    found = fit_step_times([(work, 1.1 * planted(work)) for work in _WORK])
    assert found.fixed_ms == pytest.approx(2.2)


def test_four_steps_are_needed() -> None:
    with pytest.raises(ValueError, match="3 steps"):
        fit_step_times([(work, 1.0) for work in _WORK[:3]])


def test_work_grows_with_each_of_q_b_and_t() -> None:
    shape: dict[str, Json] = {"model": "tiny", "quant": "fp32", "q": 2, "b": 3, "T": 16}
    one = work_of(shape, 5.0)
    assert one.weight_bytes == 5.0
    for more in ({"q": 4}, {"b": 6}):
        double = work_of(shape | more, 5.0)
        assert double.frozen_operations == pytest.approx(2 * one.frozen_operations)
        assert double.other_operations == pytest.approx(2 * one.other_operations)
    layers = 2 * 64 * (2 * 64 + 2 * 32 + 3 * 128)
    assert one.frozen_operations == 12 * (16 * 2 * layers + 2 * 64 * 512)
    adapters = 2 * 16 * (2 * (64 + 64) + 2 * (64 + 32) + 2 * (64 + 128) + (128 + 64))
    assert one.other_operations == 12 * 16 * 2 * (4 * 16 * 64 + adapters)
    narrow = work_of(shape | {"rank": 8, "targets": ["q_proj"], "layers": "1-1"}, 5.0)
    assert narrow.other_operations == 12 * 16 * (2 * 4 * 16 * 64 + 2 * 8 * (64 + 64))


_WORK = [
    StepWork(1e6, 1e8, 1e7),
    StepWork(1e6, 1e9, 3e8),
    StepWork(2e6, 3e9, 1e8),
    StepWork(4e6, 1e10, 4e9),
    StepWork(8e6, 2e9, 9e8),
]
