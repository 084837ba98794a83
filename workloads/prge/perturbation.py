"""Where a program's noise comes from: the runner's kernel, or stock operators for a runtime without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from workloads.adapter_layout import AdapterSlot
from workloads.prge import ops as _ops  # registers the operators  # noqa: F401
from workloads.prge.passes import ForwardPass

Perturbed = Callable[[int, Tensor], Sequence[Tensor]]
"""(layer, input of the layer) -> perturbed B of its slots, [slices, rank, features] each."""


class Noise(Protocol):
    """The two places where a step needs noise."""

    def update(self, adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
        """The adapter after the pending update, float32 [n]."""

    def perturbed(
        self, adapter: Tensor, key: Tensor, eps: Tensor, layout: Sequence[AdapterSlot], this: ForwardPass
    ) -> Perturbed:
        """The perturbed adapters of one forward pass."""


class KernelNoise:
    """Noise from the runner's kernels, drawn for one layer at a time; perturbed adapters in half precision if `half`.

    The adapter itself and the noise are float32 either way: only the sum is rounded.
    """

    def __init__(self, half: bool = False) -> None:
        self.half = half

    def update(self, adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
        result: Tensor = torch.ops.prge.update(adapter, projected_gradient, pending_key, lr)
        return result

    def perturbed(
        self, adapter: Tensor, key: Tensor, eps: Tensor, layout: Sequence[AdapterSlot], this: ForwardPass
    ) -> Perturbed:
        """The perturbed adapters of one forward pass."""
        chosen = (this.first_query, this.queries, this.signs, self.half)

        def of_layer(layer: int, after: Tensor) -> list[Tensor]:
            slots = [slot for slot in layout if slot.layer == layer]
            if not slots:
                return []
            # A layer's slots follow each other (adapter_layout leaves no gaps) and have the same rank.
            # `after` ties the noise to the layer's input: without it all layers' noise would be drawn, and stay in
            # memory, before the first layer runs.
            where = (slots[0].offset, slots[0].rank, [slot.features for slot in slots])
            result: list[Tensor] = torch.ops.prge.perturb(adapter, key, eps, after, *where, *chosen)
            return result

        return of_layer
