"""Builds the modules of a training step from a workload and a model's weights, eager or delegated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from workloads.lowering.delegation import delegate
from workloads.lowering.stored_constants import StoredConstants
from workloads.methods.adapter import adapt, frozen_a
from workloads.methods.blocks import FrozenHeadBlock, FrozenLayerBlock, HeadBlock, LayerBlock
from workloads.methods.passes import Loops
from workloads.methods.perturbation import KernelNoise, Noise, StockNoise
from workloads.methods.prge_step import Ends, KernelEnds, PrgeStep, Shape, StockEnds
from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama, Rotary
from workloads.quantize.apply import LayeredModel, MadeOnDemand, product_dtype
from workloads.workload import AdapterSlot, Workload, layout_of, lora_settings


@dataclass(frozen=True)
class Parts:
    """A quantized model with adapters, in the parts that make up a step.

    `products`: the type of products' operands. `frozen_a` makes the A of a slot, in that type.
    """

    config: LlamaConfig
    layout: tuple[AdapterSlot, ...]
    embedding: nn.Module
    blocks: Sequence[nn.Module]
    head: nn.Module
    products: torch.dtype
    frozen_a: Callable[[AdapterSlot], Tensor]


def eager_parts(workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor]) -> Parts:
    """Returns the parts as plain modules, each block built on request; `state` is the canonical state dict."""
    model = LayeredModel(config, state, workload.quant)
    lora, products = lora_settings(workload), product_dtype(workload.setting)
    layout = layout_of(workload, config)
    rotary = Rotary.tables(config, workload.T)
    kind = FrozenLayerBlock if workload.setting.kernel else LayerBlock

    def frozen(slot: AdapterSlot) -> Tensor:
        return frozen_a(config, lora, slot, workload.adapter_seed).to(products)

    def block(index: int) -> nn.Module:
        layer, slots = model.layer(index), [slot for slot in layout if slot.layer == index]
        adapt({index: layer}, slots, frozen, products)
        return kind(layer, slots, rotary)

    blocks = MadeOnDemand(config.layers, block)
    return Parts(config, layout, model.embedding, blocks, _head(workload, model.ends, products), products, frozen)


def _head(workload: Workload, ends: Llama, products: torch.dtype) -> nn.Module:
    by_kernel = workload.by_backprop or workload.setting.multiplies_head(workload.noise)
    return FrozenHeadBlock(ends) if by_kernel else HeadBlock(ends, products)


def delegated_parts(workload: Workload, parts: Parts, stored: StoredConstants | None = None) -> Parts:
    """Returns the same parts as XNNPACK delegates, without the constants that are `stored` elsewhere.

    Some settings have no delegates: the runner's kernels compute a whole layer each.
    """
    if workload.setting.kernel:
        return replace(parts, blocks=list(parts.blocks))
    blocks, head = delegate(parts.blocks, block_example(workload, parts), stored), parts.head
    if not workload.setting.multiplies_head(workload.noise):
        rows = _slices_per_chunk(workload) * workload.b * workload.answers
        (head,) = delegate([head], (torch.zeros(rows, parts.config.hidden_size),), stored)
    return replace(parts, blocks=blocks, head=head)


def training_step(workload: Workload, parts: Parts) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    stock = workload.noise == "stock"
    noise: Noise = StockNoise(workload.q) if stock else KernelNoise(parts.products)
    # If the runner multiplies the head, a tied table is its weight too; a delegate has its own packed copy.
    alone = not parts.config.tie_embeddings or not workload.setting.multiplies_head(workload.noise)
    ends: Ends = StockEnds() if stock else KernelEnds(alone)
    return PrgeStep(
        parts.embedding,
        parts.blocks,
        parts.head,
        parts.layout,
        _loops(workload),
        Shape(workload.b, workload.T, workload.answers, workload.setting.rows_per_chunk),
        parts.products,
        noise,
        ends,
    )


def step_example(workload: Workload) -> tuple[Tensor, ...]:
    """Returns inputs of the right shapes and types: tokens, first, labels, key, lr, eps."""
    return (
        torch.zeros(workload.b, workload.T, dtype=torch.int64),
        torch.zeros(workload.b, dtype=torch.int64),
        torch.zeros(workload.b, workload.answers, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor(1e-3),
        torch.tensor(1e-2),
    )


def block_example(workload: Workload, parts: Parts) -> tuple[Tensor, ...]:
    """Returns a block's inputs of the right shapes and types: hidden states, attention bias, adapters."""
    slices, rows = _slices_per_chunk(workload), workload.b * workload.T
    adapters = [
        torch.zeros(slices, slot.rank, slot.features, dtype=parts.products) for slot in parts.layout if slot.layer == 0
    ]
    x = torch.zeros(slices, rows, parts.config.hidden_size)
    bias = torch.zeros(slices * workload.b, 1, 1, workload.T, workload.T)
    return (x, bias, *adapters)


def _loops(workload: Workload) -> Loops:
    return Loops(workload.q, workload.outer_parallel, workload.inner_parallel)


def _slices_per_chunk(workload: Workload) -> int:
    """Returns the copies of the batch that a block gets at a time, which all passes share."""
    first_pass = next(_loops(workload).passes())
    return first_pass.chunks(workload.b * workload.T, workload.setting.rows_per_chunk)[0].slices
