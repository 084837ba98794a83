"""The adapter that five steps of a program leave, against the eager reference with the same noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.workloads.program_bounds import ALLOWED, SETTINGS, STEPS, workload_of
from tests.support.workloads.training_runs import (
    ArtifactOf,
    FloatArray,
    Settings,
    reference_training,
    relative_error,
    some_batches,
    train_and_flush,
    train_in_runner,
)
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.methods.noise import normal
from workloads.models.weights import ModelWeights


@pytest.mark.parametrize("quant", ALLOWED)
def test_adapter_after_five_steps_equals_the_reference(
    quant: str, tiny: ModelWeights, exported: ArtifactOf, runner: Path, accumulation: Accumulation, tmp_path: Path
) -> None:
    workload = workload_of(quant)
    batches = some_batches(workload, 3)
    expected = reference_training(tiny, workload, batches, STEPS, SETTINGS, accumulation=accumulation)
    losses, adapter = train_and_flush(
        runner, exported(workload).program, workload, batches, STEPS, SETTINGS, tmp_path / "run"
    )
    error = relative_error(adapter, expected.adapter)
    print(f"{quant}: adapter {error:.1e} of {ALLOWED[quant]:.0e} allowed")
    assert error < ALLOWED[quant]
    assert np.abs(losses / expected.losses - 1.0).max() < ALLOWED[quant] / 5


@pytest.mark.parametrize(
    ("quant", "usual", "largest"),
    [("int8-dynamic", 1e-5, 1e-2), ("8da4w", 1e-5, 1e-2), ("fp16", 1e-3, 5e-3), ("bf16", 2e-3, 1e-2)],
)
def test_losses_of_single_steps_equal_the_reference_but_for_rare_flips(
    quant: str,
    usual: float,
    largest: float,
    tiny: ModelWeights,
    exported: ArtifactOf,
    runner: Path,
    accumulation: Accumulation,
    tmp_path: Path,
) -> None:
    """With lr = 0 the steps don't build on each other.

    int8-dynamic: a loss is equal to the last bits unless a code flipped; the median loss must be. Without the
    quantization of activations in the reference, the median would be 1.6e-3 off. fp16, bf16: see ALLOWED.
    """
    workload = workload_of(quant)
    batches = some_batches(workload, 8)
    still = Settings(lr=0.0, eps=SETTINGS.eps)
    expected = reference_training(tiny, workload, batches, 8, still, accumulation=accumulation).losses
    found = train_in_runner(runner, exported(workload).program, workload, batches, 8, still, tmp_path / "run").losses
    errors = np.abs(found / expected - 1.0)
    print(f"{quant}: losses {np.median(errors):.1e} in the median, {errors.max():.1e} at most")
    assert np.median(errors) < usual
    assert errors.max() < largest


def adapter_of(gradients: FloatArray, queries: tuple[int, ...], size: int) -> FloatArray:
    """Returns the formula: -lr * mean over the queries of gradient * noise, summed over the steps; gradients [steps,
    q].
    """
    adapter = np.zeros(size, dtype=np.float32)
    for step, of_step in enumerate(gradients):
        for query, gradient in zip(queries, of_step, strict=True):
            adapter -= SETTINGS.lr * gradient * normal(SETTINGS.seed, step, query, 0, size) / len(of_step)
    return adapter


@pytest.mark.parametrize("quant", ALLOWED)
def test_bound_would_catch_a_wrong_sign_a_missing_update_and_foreign_noise(quant: str, tiny: ModelWeights) -> None:
    workload = workload_of(quant)
    expected = reference_training(tiny, workload, some_batches(workload, 3), STEPS, SETTINGS)
    size = expected.adapter.size
    gradients = (expected.losses[:, 0] - expected.losses[:, 1]) / (2 * SETTINGS.eps)
    assert relative_error(adapter_of(gradients, (0, 1), size), expected.adapter) < 1e-5
    without_last, wrong_sign = gradients.copy(), gradients.copy()
    without_last[-1] = 0.0
    wrong_sign[:, 1] *= -1.0
    for wrong in (
        adapter_of(without_last, (0, 1), size),
        adapter_of(wrong_sign, (0, 1), size),
        adapter_of(gradients, (1, 0), size),
        adapter_of(gradients, (0, 1), size) / 2,
    ):
        assert relative_error(wrong, expected.adapter) > 2 * ALLOWED[quant]
