"""Programs whose adapters have an A that is given: they train as the reference does, with equal A side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.workloads.program_bounds import ALLOWED, SETTINGS, workload_of
from tests.support.workloads.training_runs import (
    FloatArray,
    Settings,
    reference_training,
    relative_error,
    some_batches,
    train_and_flush,
    train_in_runner,
)
from workloads.export.artifact import ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.methods.adapter import name_of_a
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch
from workloads.workload import Workload, layout_of

pytestmark = pytest.mark.slow  # real exports


@pytest.fixture
def given(tiny: ModelWeights) -> ModelWeights:
    """Projections of a layer that have one input have one A, as discriminants do."""
    alike = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "gate_proj": 1, "up_proj": 1, "o_proj": 2, "down_proj": 3}
    tensors = {}
    for slot in layout_of(Workload("tiny", "fp32", rank=2), tiny.config):
        inputs = tiny.config.projection_shape(slot.projection)[1]
        generator = torch.Generator().manual_seed(10 * slot.layer + alike[slot.projection])
        tensors[name_of_a(slot)] = 0.05 * torch.randn(2, inputs, generator=generator)
    return tiny.with_tensors(tensors)


@pytest.mark.parametrize(
    "workload",
    [
        *(replace(workload_of(quant), rank=2) for quant in ("fp32", "fp16", "int8", "nf4")),
        Workload("tiny", "fp32", q=1, b=2, T=32, rank=2, method="fo-lora-fa"),
        Workload("tiny", "int8", q=1, b=2, T=32, rank=2, method="fo-lora-fa-adam", layers="1"),
    ],
    ids=lambda workload: f"{workload.method} {workload.quant}",
)
def test_a_program_trains_as_the_reference_does(
    workload: Workload,
    given: ModelWeights,
    cache: ArtifactCache,
    runner: Path,
    accumulation: Accumulation,
    tmp_path: Path,
) -> None:
    workload = replace(workload, lora_a="given")
    settings = SETTINGS if workload.training_method.noise else Settings(0.05, 0.0)
    batches = some_batches(workload, 2)
    expected = reference_training(given, workload, batches, 3, settings, accumulation=accumulation)
    program = cache.export(workload, given).program
    train = train_and_flush if workload.training_method.leaves_update else _train
    losses, adapter = train(runner, program, workload, batches, 3, settings, tmp_path / "run")
    allowed = ALLOWED[workload.quant]
    assert np.abs(losses / expected.losses - 1.0).max() < allowed / 5
    assert relative_error(adapter, expected.adapter) < allowed
    drawn = reference_training(given, replace(workload, lora_a=None), batches, 3, settings, accumulation=accumulation)
    assert relative_error(adapter, drawn.adapter) > 10 * allowed


def _train(
    runner: Path, program: Path, workload: Workload, batches: list[Batch], steps: int, settings: Settings, folder: Path
) -> tuple[FloatArray, FloatArray]:
    trained = train_in_runner(runner, program, workload, batches, steps, settings, folder)
    return trained.losses, trained.adapter
