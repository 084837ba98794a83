"""The eager references of methods whose steps build on each other, from the formulas of schedules.py.

They share P-RGE's losses and slopes with the reference of the others, and neither pending updates nor factors with the
programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.scheduled.schedules import ANCHORS, BETA, GROUPS


class AdaZetaReference(Reference):
    """Makes an update when a group of steps is complete. `first_step` is the number of a training's first step."""

    first_step = 0

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        estimates: list[Tensor] = []
        place = 0
        while True:
            step = self.first_step + place
            losses, direction = self._step(adapter, batches[place % len(batches)], step, seed, eps, on_progress)
            estimates.append(direction / self.workload.q)
            epoch = step // GROUPS.period
            size = GROUPS.sizes[min(epoch, len(GROUPS.sizes) - 1)]
            at_end = (step + 1) % GROUPS.period == 0 or (step % GROUPS.period + 1) % size == 0
            if at_end:
                adapter -= lr * torch.stack(estimates).mean(dim=0)
                estimates.clear()
            yield losses
            place += 1


class MomentumReference(Reference):
    """Moves along a moving mean of all estimates."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        step, mean = 0, torch.zeros_like(adapter)
        while True:
            losses, direction = self._step(adapter, batches[step % len(batches)], step, seed, eps, on_progress)
            mean.mul_(BETA).add_(direction / self.workload.q, alpha=1 - BETA)
            adapter -= lr * mean
            yield losses
            step += 1


class SvrgReference(Reference):
    """Keeps an anchor, and its gradient from the first batches of a period."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        step = 0
        while True:
            batch = batches[step % len(batches)]
            if step % ANCHORS.period == 0:
                anchor, gathered = adapter.clone(), list[Tensor]()
            here, direction = super()._step(adapter, batch, step, seed, eps, on_progress)
            there, of_anchor = super()._step(anchor, batch, step, seed, eps, on_progress)
            if len(gathered) < ANCHORS.batches:
                gathered.append(direction / self.workload.q)
                if len(gathered) == ANCHORS.batches:
                    adapter -= lr * torch.stack(gathered).mean(dim=0)
            else:
                adapter -= lr * ((direction - of_anchor) / self.workload.q + torch.stack(gathered).mean(dim=0))
            yield np.concatenate([here, there], axis=1)
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step that starts from `adapter` as its anchor too, and its direction."""
        losses, direction = super()._step(adapter, batch, step, seed, eps, on_progress)
        return np.concatenate([losses, losses], axis=1), direction
