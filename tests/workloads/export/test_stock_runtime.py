"""fp32, fp16, int8-dynamic and 8da4w programs with noise from stock operators train in the stock executorch.runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from executorch.runtime import Runtime

from tests.support.workloads.program_bounds import ALLOWED, SETTINGS, STEPS, workload_of
from tests.support.workloads.training_runs import (
    ArtifactOf,
    FloatArray,
    Settings,
    reference_training,
    relative_error,
    some_batches,
)
from workloads.export.artifact import Artifact
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch
from workloads.workload import Workload

pytestmark = pytest.mark.slow  # all of them export; so that `make check` imports no executorch for them


def train(artifact: Artifact, batches: Sequence[Batch], settings: Settings) -> tuple[FloatArray, FloatArray]:
    """Returns losses [STEPS, 2, q] and the adapter after a last call with eps = 0."""
    (weights,) = artifact.data  # that runtime takes one data file
    method = Runtime.get().load_program(artifact.program, data_path=weights.path).load_method("forward")
    losses = []
    for step in range(STEPS + 1):
        batch = batches[step % len(batches)]
        eps = settings.eps if step < STEPS else 0.0
        found, _ = method.execute(
            [
                *(torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels)),
                torch.tensor([settings.seed, step]),
                torch.tensor(settings.lr),
                torch.tensor(eps),
            ]
        )
        losses.append(found.numpy().copy())
    # Only the method inside has it; the wrapper around it keeps mutable state to itself.
    return np.stack(losses[:STEPS]), method._method.get_attribute("adapter").numpy().copy()


@pytest.mark.parametrize("quant", ["fp32", "fp16", "int8-dynamic", "8da4w"])
def test_program_trains_in_the_stock_runtime_as_the_reference_does(
    quant: str, tiny: ModelWeights, exported: ArtifactOf, accumulation: Accumulation
) -> None:
    workload = workload_of(quant, noise="stock")
    batches = some_batches(workload, 3)
    expected = reference_training(tiny, workload, batches, STEPS, SETTINGS, accumulation=accumulation)
    losses, adapter = train(exported(workload), batches, SETTINGS)
    assert relative_error(adapter, expected.adapter) < ALLOWED[quant]
    assert np.abs(losses / expected.losses - 1.0).max() < ALLOWED[quant] / 5


def test_a_one_sided_program_trains_in_the_stock_runtime_too(tiny: ModelWeights, exported: ArtifactOf) -> None:
    workload = Workload("tiny", "fp32", q=2, b=2, T=8, rank=2, method="fzoo", noise="stock")
    batches, settings = some_batches(workload, 3), Settings(lr=2e-4, eps=0.1)
    expected = reference_training(tiny, workload, batches, STEPS, settings)
    losses, adapter = train(exported(workload), batches, settings)
    assert relative_error(adapter, expected.adapter) < ALLOWED["fp32"]
    assert np.abs(losses / expected.losses - 1.0).max() < ALLOWED["fp32"] / 5


@pytest.mark.parametrize("quant", ["fp32", "fp16", "int8-dynamic", "8da4w"])
def test_stock_program_calls_no_operator_of_the_runner(quant: str, exported: ArtifactOf) -> None:
    operators = exported(workload_of(quant, noise="stock")).document["operators"]
    assert not {"perturb.out", "update.out", "linear_frozen.out"} & operators.keys()
