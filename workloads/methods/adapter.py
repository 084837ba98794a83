"""LoRA-FA adapters: A is frozen, B is trained, and all B of a model are one flat vector.

A projection's output becomes x W^T + (alpha / rank) (x A^T) B with A [rank, in] drawn once from Kaiming's uniform
distribution and B [rank, out] starting at zero (Zhang et al., "LoRA-FA", arXiv 2308.03303). The factor is folded into
A. An A may also be given, as tensors next to the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from workloads.models.config import LlamaConfig
from workloads.models.llama import DecoderLayer, operand, widened
from workloads.workload import AdapterSlot, LoraSettings, Workload, lora_settings


def name_of_a(slot: AdapterSlot) -> str:
    """Returns the name of a given A [rank, in], without the factor, among a model's tensors."""
    return f"layers.{slot.layer}.{slot.projection}.lora_a"


def frozen_a(workload: Workload, config: LlamaConfig, slot: AdapterSlot, tensors: Mapping[str, Tensor]) -> Tensor:
    """Returns A of a slot, float32 [rank, in], with alpha / rank folded in: from the model's `tensors` if the workload
    has a given A, else drawn.
    """
    if workload.lora_a is not None:
        return tensors[name_of_a(slot)].to(torch.float32) * (workload.alpha / workload.rank)
    return drawn_a(config, lora_settings(workload), slot, workload.adapter_seed)


def drawn_a(config: LlamaConfig, lora: LoraSettings, slot: AdapterSlot, seed: int) -> Tensor:
    """Returns A of a slot, float32 [rank, in], with alpha / rank folded in; it depends only on (seed, slot).

    Kaiming's uniform distribution with a = sqrt(5), as LoRA implementations use it: bound 1 / sqrt(in).
    """
    _, in_features = config.projection_shape(slot.projection)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + slot.offset)
    bound = 1.0 / math.sqrt(in_features)
    uniform = torch.rand(lora.rank, in_features, generator=generator) * 2.0 - 1.0
    return uniform * bound * (lora.alpha / lora.rank)


class LowRank(nn.Module):
    """The adapter's share of a projection: x A^T B, with a separate B for every slice of the batch."""

    lora_a: Tensor

    def __init__(self, lora_a: Tensor, products: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("lora_a", operand(lora_a, products))
        self.products = products

    def forward(self, x: Tensor, lora_b: Tensor) -> Tensor:
        """x [slices, rows, in], lora_b [slices, rank, out] -> [slices, rows, out]."""
        # bmm, not linear: a varying right-hand side must never be packed as a constant.
        inner = nn.functional.linear(x, self.lora_a)
        return torch.bmm(operand(inner, self.products) if inner.dtype == torch.float32 else inner, lora_b)


class AdaptedLinear(nn.Module):
    """A frozen projection plus the adapter's share, added in float32, as perturbations change only the share."""

    def __init__(self, base: nn.Module, low_rank: LowRank) -> None:
        super().__init__()
        self.base = base
        self.low_rank = low_rank

    def forward(self, x: Tensor, lora_b: Tensor) -> Tensor:
        """x [slices, rows, in], lora_b [slices, rank, out] -> [slices, rows, out]."""
        return widened(self.base(x)) + widened(self.low_rank(x, lora_b))


def adapt(
    layers: Mapping[int, DecoderLayer],
    layout: Sequence[AdapterSlot],
    frozen: Callable[[AdapterSlot], Tensor],
    products: torch.dtype,
) -> None:
    """Replaces each projection that has a slot with an AdaptedLinear; `layers` is by index."""
    for slot in layout:
        owner = next(
            module for module in layers[slot.layer].modules() if slot.projection in dict(module.named_children())
        )
        base = owner.get_submodule(slot.projection)
        setattr(owner, slot.projection, AdaptedLinear(base, LowRank(frozen(slot), products)))
