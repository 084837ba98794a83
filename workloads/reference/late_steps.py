"""The effect that the updates before a step should have on its loss, to first order, and its error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from workloads.methods.noise import DISTRIBUTIONS
from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.reference.expected_losses import LateStep, Losses


def late_steps(
    exact: Reference,
    batches: Mapping[int, Batch],
    untrained: Mapping[int, Losses],
    update: Tensor,
    *,
    seed: int,
    on_progress: OnProgress,
) -> tuple[LateStep, ...]:
    """Returns the late steps for `batches`, with their `untrained` losses, from an exact reference.

    `update` float32 [n] is the mean update of the first steps: the error of the first order is computed at the adapter
    to which one such update for each earlier step would lead.
    """
    gradients: dict[int, Tensor] = {}
    left_out: dict[int, float] = {}
    for place, (step, batch) in enumerate(batches.items()):

        def stand_still(_: float, done: float = place / len(batches)) -> None:
            on_progress(done)  # a layer's share would decrease again in the backward pass

        loss, gradients[step] = exact.loss_and_gradient(torch.zeros_like(update), batch, stand_still)
        moved = exact.loss(step * update, batch) - loss
        left_out[step] = abs(moved - step * float(gradients[step] @ update))
    slopes = {step: np.empty((step, exact.workload.q), dtype=np.float32) for step in batches}
    noise = DISTRIBUTIONS[exact.workload.training_method.noise or "normal"]
    for before in range(max(batches)):
        for query in range(exact.workload.q):
            z = torch.from_numpy(noise(seed, before, query, 0, update.numel()))
            for step, gradient in gradients.items():
                if before < step:
                    slopes[step][before, query] = float(gradient @ z)
    on_progress(1.0)
    return tuple(
        LateStep(step, untrained[step], tuple(map(float, slopes[step].reshape(-1))), left_out[step]) for step in batches
    )
