"""The eager reference of training by backpropagation: torch's autograd and torch's optimizers.

It shares nothing with the program but the model's arithmetic on the way forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.reference.all_weights import AllWeightsReference, ScalesReference
from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.reference.scheduled import AdaZetaReference, MomentumReference, SvrgReference
from workloads.workload import Workload


class BackpropReference(Reference):
    """A reference whose steps take the exact derivative; perturbations, seed and eps have no part in it."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        del seed, eps
        by_adam = self.workload.training_method.optimizer == "adam"
        optimizer = torch.optim.Adam([adapter], lr=lr) if by_adam else torch.optim.SGD([adapter], lr=lr)
        step = 0
        while True:
            loss, adapter.grad = self.loss_and_gradient(adapter, batches[step % len(batches)], on_progress)
            optimizer.step()
            yield np.array([loss], dtype=np.float32)
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step without its update, and no direction."""
        del step, seed, eps
        losses = np.array([self.loss(adapter, batch)], dtype=np.float32)
        on_progress(1.0)
        return losses, torch.zeros_like(adapter)


_SCHEDULED: dict[str, type[Reference]] = {
    "workloads.scheduled.adazeta_step": AdaZetaReference,
    "workloads.scheduled.momentum_step": MomentumReference,
    "workloads.scheduled.svrg_step": SvrgReference,
}


def reference_of(
    workload: Workload, weights: ModelWeights, accumulation: Accumulation = Accumulation.FP32
) -> Reference:
    """Returns the reference of the workload's method. Raises UserError if this host can't model its arithmetic."""
    method = workload.training_method
    if method.trains_weights:
        kind: type[Reference] = ScalesReference if method.trains == "scales" else AllWeightsReference
    else:
        kind = BackpropReference if method.optimizer is not None else _SCHEDULED.get(method.step, Reference)
    return kind(workload, weights.config, weights.state, accumulation)
