"""The noise of a program: from the runner's kernel, or from stock operators for a runtime without it.

Stock operators are those that every ExecuTorch runtime has: integer arithmetic, logarithm, cosine and sine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from workloads.method import UNPERTURBED
from workloads.methods import operators  # registers the operators  # noqa: F401
from workloads.methods.noise import MULTIPLIERS, ROUNDS, SIGNS_PER_BLOCK, WEYL_INCREMENTS, WORD
from workloads.methods.parts import Parts
from workloads.methods.passes import BOTH, MINUS, PLUS, ForwardPass
from workloads.workload import AdapterSlot, Workload

Perturbed = Callable[[int, Tensor], Sequence[Tensor]]
"""(layer, input of the layer) -> perturbed B of its slots, [slices, rank, features] each."""


class Noise(Protocol):
    """The two places where a step needs noise."""

    def update(self, adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
        """Returns the adapter after the pending update, float32 [n]."""

    def perturbed(
        self, adapter: Tensor, key: Tensor, eps: Tensor, layout: Sequence[AdapterSlot], this: ForwardPass
    ) -> Perturbed:
        """Returns the perturbed adapters of one forward pass."""


def of_type(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns `values` as `dtype`, without tracing a needless conversion if they already are."""
    return values if values.dtype == dtype else values.to(dtype)


class KernelNoise:
    """Noise from the runner's kernels, drawn for one layer at a time; perturbed adapters of type `dtype`.

    The adapter itself and the noise are always float32; only the sum is rounded.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, distribution: str = "normal") -> None:
        ops, normal = torch.ops.prge, distribution == "normal"
        self.dtype = dtype
        self._perturb = ops.perturb if normal else ops.perturb_rademacher
        self._update = ops.update if normal else ops.update_rademacher

    def update(self, adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
        result: Tensor = self._update(adapter, projected_gradient, pending_key, lr)
        return result

    def perturbed(
        self, adapter: Tensor, key: Tensor, eps: Tensor, layout: Sequence[AdapterSlot], this: ForwardPass
    ) -> Perturbed:
        """Returns the perturbed adapters of one forward pass."""
        passes = (this.first_query, this.queries, this.signs, self.dtype)

        def of_layer(layer: int, after: Tensor) -> list[Tensor]:
            slots = [slot for slot in layout if slot.layer == layer]
            if not slots:
                return []
            # A layer's slots follow each other (adapter_layout leaves no gaps) and have the same rank.
            # `after` makes the noise depend on the layer's input: otherwise all layers' noise would be drawn, and kept
            # in memory, before the first layer runs.
            where = (slots[0].offset, slots[0].rank, [slot.features for slot in slots])
            result: list[Tensor] = self._perturb(adapter, key, eps, after, *where, *passes)
            return result

        return of_layer


Words = tuple[Tensor, Tensor, Tensor, Tensor]


class StockNoise:
    """Noise from stock operators, for `queries` queries."""

    def __init__(self, queries: int, distribution: str = "normal") -> None:
        self.queries = queries
        self._noise = normal if distribution == "normal" else rademacher

    def update(self, adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
        """Returns the adapter after the pending update, float32 [n]."""
        noise = self._noise(pending_key, 0, self.queries, adapter.numel())
        return adapter - lr * (projected_gradient[:, None] * noise).mean(dim=0)

    def perturbed(
        self, adapter: Tensor, key: Tensor, eps: Tensor, layout: Sequence[AdapterSlot], this: ForwardPass
    ) -> Perturbed:
        """Returns the perturbed adapters of one forward pass."""
        shift = eps * self._drawn(key, this, adapter.numel())
        signs = {BOTH: (1.0, -1.0), PLUS: (1.0,), MINUS: (-1.0,)}[this.signs]
        flat = torch.cat([adapter[None] + shift if sign > 0 else adapter[None] - shift for sign in signs])

        def of_layer(layer: int, after: Tensor) -> list[Tensor]:
            del after
            return [
                flat[:, slot.offset : slot.offset + slot.size].reshape(this.slices, slot.rank, slot.features)
                for slot in layout
                if slot.layer == layer
            ]

        return of_layer

    def _drawn(self, key: Tensor, this: ForwardPass, count: int) -> Tensor:
        """Returns the noise of a pass's queries, zero for UNPERTURBED: float32 [queries, count]."""
        if this.first_query != UNPERTURBED:
            return self._noise(key, this.first_query, this.queries, count)
        none = torch.zeros(1, count)
        return none if this.queries == 1 else torch.cat([none, self._noise(key, 0, this.queries - 1, count)])


def noise_of(workload: Workload, parts: Parts) -> Noise:
    """Returns the noise of a workload's step."""
    distribution = workload.training_method.noise or "normal"
    if workload.noise == "stock":
        return StockNoise(workload.q, distribution)
    return KernelNoise(parts.products, distribution)


def normal(key: Tensor, first_query: int, queries: int, count: int) -> Tensor:
    """Noise at the positions 0 .. count - 1 for each query: key int64 [2] -> float32 [queries, count]."""
    words = _words(key, first_query, queries, -(-count // 4))
    lanes: list[Tensor] = []
    for pair in range(2):
        u = (torch.bitwise_right_shift(words[2 * pair], 9) * 2 + 1).to(torch.float32) * 2.0**-24
        t = torch.bitwise_right_shift(words[2 * pair + 1], 9).to(torch.float32) * 2.0**-23
        radius, angle = torch.sqrt(-2.0 * torch.log(u)), t * (2.0 * math.pi)
        lanes += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(lanes, dim=-1).reshape(queries, -1)[:, :count]


def rademacher(key: Tensor, first_query: int, queries: int, count: int) -> Tensor:
    """Signs at the positions 0 .. count - 1 for each query: key int64 [2] -> float32 [queries, count]."""
    words = torch.stack(_words(key, first_query, queries, -(-count // SIGNS_PER_BLOCK)), dim=-1)
    bits = [torch.bitwise_right_shift(words, bit) & 1 for bit in range(32)]
    return 1.0 - 2.0 * torch.stack(bits, dim=-1).reshape(queries, -1)[:, :count].to(torch.float32)


def _words(key: Tensor, first_query: int, queries: int, blocks: int) -> Words:
    """Returns the random words of the first blocks of each query, four times int64 [queries, blocks]."""
    block = torch.arange(blocks)[None, :].expand(queries, -1)
    query = torch.arange(first_query, first_query + queries)[:, None].expand(-1, blocks)
    low, high = key & WORD, torch.bitwise_right_shift(key, 32) & WORD
    zero = torch.zeros_like(block)
    return _philox((block, query, zero + low[1:2], zero + high[1:2]), (low[0:1], high[0:1]))


def _philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # Products of two words fill 64 bits: the sign bit is one of them, so the shifted half needs the mask.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = (torch.bitwise_right_shift(p1, 32) & WORD) ^ c1 ^ k0, p1 & WORD
        c2, c3 = (torch.bitwise_right_shift(p0, 32) & WORD) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + WEYL_INCREMENTS[0]) & WORD, (k1 + WEYL_INCREMENTS[1]) & WORD
    return c0, c1, c2, c3
