"""A training step run eagerly, from the same modules that the program is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.support.workloads.training_runs import FloatArray, Settings
from workloads.export.program import eager_parts, make_program
from workloads.methods.prge_step import PrgeStep
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch
from workloads.workload import Workload

SETTINGS = Settings(lr=2e-3, eps=0.1)
WORKLOAD = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4)


def eager_step(weights: ModelWeights, workload: Workload) -> PrgeStep:
    step = make_program(workload, eager_parts(workload, weights.config, weights.state))
    assert isinstance(step, PrgeStep)
    return step


@torch.no_grad()
def call(step: PrgeStep, batch: Batch, index: int, settings: Settings = SETTINGS) -> tuple[FloatArray, FloatArray]:
    losses, row_losses = step(
        *(torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels)),
        torch.tensor([settings.seed, index]),
        torch.tensor(settings.lr),
        torch.tensor(settings.eps),
    )
    return losses.numpy(), row_losses.numpy()


def train(step: PrgeStep, batches: Sequence[Batch], steps: int) -> tuple[FloatArray, FloatArray]:
    """Losses [steps, 2, q], and the adapter with the last update applied."""
    losses = [call(step, batches[index % len(batches)], index)[0] for index in range(steps)]
    call(step, batches[0], steps, replace(SETTINGS, eps=0.0))
    return np.stack(losses), step.adapter.numpy().copy()
