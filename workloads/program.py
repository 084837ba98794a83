"""From a workload and a model's weights to the modules of a training step, eager or delegated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot, layout_of, lora_settings
from workloads.delegation import delegate
from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama, Rotary
from workloads.prge.adapter import adapt, frozen_a
from workloads.prge.blocks import HeadBlock, LayerBlock
from workloads.prge.passes import Loops
from workloads.prge.perturbation import KernelNoise, Noise
from workloads.prge.split_blocks import PARTS, SplitLayerBlock, part_examples
from workloads.prge.step import PrgeStep, Shape
from workloads.prge.stock_noise import StockNoise
from workloads.quantize.apply import COMPUTE_DTYPE, quantize_model
from workloads.workload import Workload


@dataclass(frozen=True)
class Parts:
    """A quantized, adapted model in the pieces of which a step is made."""

    config: LlamaConfig
    layout: tuple[AdapterSlot, ...]
    embedding: nn.Module
    blocks: list[nn.Module]
    head: nn.Module
    dtype: torch.dtype


def eager_parts(workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor]) -> Parts:
    """The parts as plain modules; `state` is the canonical state dict, left untouched."""
    model = Llama.load(config, state)
    embedding = quantize_model(model, workload.quant)
    lora, dtype = lora_settings(workload), COMPUTE_DTYPE[workload.quant]
    layout = layout_of(workload, config)
    adapt(model.layers, layout, lambda slot: frozen_a(config, lora, slot, workload.adapter_seed), dtype)
    rotary = Rotary.tables(config, workload.T, dtype)
    block = SplitLayerBlock if workload.quant == "nf4" else LayerBlock
    blocks: list[nn.Module] = [
        block(layer, [slot for slot in layout if slot.layer == index], rotary)
        for index, layer in enumerate(model.layers)
    ]
    return Parts(config, layout, embedding, blocks, HeadBlock(model), dtype)


def delegated_parts(workload: Workload, parts: Parts) -> Parts:
    """The same parts with their arithmetic in XNNPACK delegates."""
    example = block_example(workload, parts)
    if workload.quant == "nf4":
        blocks = _delegate_between_products(parts.blocks, example)
        return Parts(parts.config, parts.layout, parts.embedding, blocks, parts.head, parts.dtype)
    rows = _slices_per_chunk(workload) * workload.b * workload.answers
    (head,) = delegate([parts.head], (torch.zeros(rows, parts.config.hidden_size, dtype=parts.dtype),))
    blocks = list(delegate(parts.blocks, example))
    return Parts(parts.config, parts.layout, parts.embedding, blocks, head, parts.dtype)


def training_step(workload: Workload, parts: Parts) -> PrgeStep:
    """The step over `parts`, with zero adapter and nothing pending."""
    half = parts.dtype == torch.float16
    noise: Noise = KernelNoise(half) if workload.noise == "kernel" else StockNoise(workload.q)
    return PrgeStep(
        parts.embedding,
        parts.blocks,
        parts.head,
        parts.layout,
        _loops(workload),
        Shape(workload.b, workload.T, workload.answers),
        parts.dtype,
        noise,
    )


def step_example(workload: Workload) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and types: tokens, first, labels, key, lr, eps."""
    return (
        torch.zeros(workload.b, workload.T, dtype=torch.int64),
        torch.zeros(workload.b, dtype=torch.int64),
        torch.zeros(workload.b, workload.answers, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor(1e-3),
        torch.tensor(1e-2),
    )


def block_example(workload: Workload, parts: Parts) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and types for a block: hidden states, attention bias, adapters."""
    slices, rows = _slices_per_chunk(workload), workload.b * workload.T
    adapters = [
        torch.zeros(slices, slot.rank, slot.features, dtype=parts.dtype) for slot in parts.layout if slot.layer == 0
    ]
    x = torch.zeros(slices, rows, parts.config.hidden_size, dtype=parts.dtype)
    bias = torch.zeros(slices * workload.b, 1, 1, workload.T, workload.T, dtype=parts.dtype)
    return (x, bias, *adapters)


def _loops(workload: Workload) -> Loops:
    return Loops(workload.q, workload.outer_parallel, workload.inner_parallel)


def _slices_per_chunk(workload: Workload) -> int:
    """Copies of the batch that a block gets at a time: the same number in every pass."""
    first_pass = next(_loops(workload).passes())
    return first_pass.chunks(workload.b * workload.T)[0].slices


def _delegate_between_products(blocks: list[nn.Module], example: tuple[Tensor, ...]) -> list[nn.Module]:
    split = [block for block in blocks if isinstance(block, SplitLayerBlock)]
    examples = part_examples(split[0], example)
    for name in PARTS:
        delegated = delegate([block.parts[name] for block in split], examples[name])
        for block, part in zip(split, delegated, strict=True):
            block.parts[name] = part
    return list(split)
