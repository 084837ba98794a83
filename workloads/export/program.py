"""Builds the modules of a training step from a workload and a model's weights, eager or delegated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import torch
from torch import Tensor, nn

from foundation.errors import UserError
from workloads.lowering.delegation import delegate
from workloads.lowering.shared_delegate import delegate_layers, delegate_plain_layers
from workloads.lowering.stored_constants import StoredConstants
from workloads.methods.adapter import adapt, frozen_a
from workloads.methods.blocks import FrozenHeadBlock, FrozenLayerBlock, HeadBlock, LayerBlock
from workloads.methods.layer_backward import LayerBackward
from workloads.methods.parts import Parts
from workloads.methods.passes import Loops
from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama, Rotary
from workloads.quantize.apply import LayeredModel, MadeOnDemand
from workloads.workload import (
    AdapterSlot,
    Workload,
    adapter_values,
    layers_above_adapters,
    layers_below_adapters,
    layout_of,
    lora_settings,
)


def eager_parts(workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor]) -> Parts:
    """Returns the parts as plain modules, each block built on request; `state` is the canonical state dict."""
    config.require_length(workload.T, workload.model)
    model = LayeredModel(config, state, workload.quant)
    lora, products = lora_settings(workload), getattr(torch, workload.products)
    layout = layout_of(workload, config)
    rotary = Rotary.of_layers(config, workload.T, workload.results)
    kind = FrozenLayerBlock if workload.setting.kernel else LayerBlock

    def frozen(slot: AdapterSlot) -> Tensor:
        made = frozen_a(workload, config, slot, state).to(products)
        if not bool(made.isfinite().all()):
            raise UserError(
                f"alpha is {lora.alpha:g} and rank {lora.rank}, which makes adapter values too large for "
                f"{workload.quant}: choose a lower alpha, or leave this setting out."
            )
        return made

    def block(index: int) -> nn.Module:
        layer, slots = model.layer(index), [slot for slot in layout if slot.layer == index]
        layer.self_attn.products = layer.mlp.products = products
        adapt({index: layer}, slots, frozen, products)
        return kind(layer, slots, rotary[index])

    blocks = MadeOnDemand(config.layers, block)
    head = _head(workload, model.ends, products)
    return Parts(config, layout, model.embedding, blocks, head, products, frozen, rotary)


def _head(workload: Workload, ends: Llama, products: torch.dtype) -> nn.Module:
    by_kernel = workload.training_method.optimizer is not None or workload.setting.multiplies_head(workload.noise)
    return FrozenHeadBlock(ends) if by_kernel else HeadBlock(ends, products)


def delegated_parts(workload: Workload, parts: Parts, stored: StoredConstants | None = None) -> Parts:
    """Returns the same parts as XNNPACK delegates, without the constants that are `stored` elsewhere.

    Some settings have no delegates: the runner's kernels compute each whole layer.
    """
    if workload.by_kernel:
        return replace(parts, blocks=list(parts.blocks))
    example = block_example(workload, parts)
    if workload.training_method.optimizer is not None:
        below, adapted, above = _by_adapters(parts)
        plain = delegate_plain_layers(below, above, LayerBackward, _states(workload, parts, slices=1))
        trained = delegate_layers(adapted, LayerBackward(adapted[0]), example)
        return replace(parts, blocks=[*plain[: len(below)], *trained, *plain[len(below) :]])
    blocks: list[nn.Module] = []
    for some, inputs in _alike(workload, parts, example):
        blocks += delegate(some, inputs, stored)
    head = parts.head
    if not workload.setting.multiplies_head(workload.noise):
        rows = _slices_per_chunk(workload) * workload.b * workload.answers
        (head,) = delegate([head], (torch.zeros(rows, parts.config.hidden_size),), stored)
    return replace(parts, blocks=blocks, head=head)


def _by_adapters(parts: Parts) -> tuple[Sequence[nn.Module], Sequence[nn.Module], Sequence[nn.Module]]:
    """Returns the blocks below all adapters, those from the first adapter to the last, and those above."""
    count = len(parts.blocks)
    first, end = layers_below_adapters(parts.layout), count - layers_above_adapters(parts.layout, parts.config)
    return _some(parts.blocks, 0, first), _some(parts.blocks, first, end), _some(parts.blocks, end, count)


def _alike(
    workload: Workload, parts: Parts, example: tuple[Tensor, ...]
) -> Iterator[tuple[Sequence[nn.Module], tuple[Tensor, ...]]]:
    """Yields groups of blocks that are alike, with their inputs: `example` for those with adapters; the last block is
    separate if it computes fewer rows.
    """
    count = len(parts.blocks)
    first, end = layers_below_adapters(parts.layout), count - layers_above_adapters(parts.layout, parts.config)
    cuts = sorted({0, first, end, count - (workload.results < workload.T), count})
    for begin, stop in pairwise(cuts):
        slices = 1 if begin < first else _slices_per_chunk(workload)
        inputs = example if first <= begin < end else _states(workload, parts, slices)
        yield _some(parts.blocks, begin, stop), inputs


def _some(blocks: Sequence[nn.Module], first: int, end: int) -> Sequence[nn.Module]:
    """Returns blocks `first` to before `end`, still created on request."""
    return MadeOnDemand(end - first, lambda index: blocks[first + index])


def make_program(workload: Workload, parts: Parts) -> nn.Module:
    """Returns the module that the workload's method runs over `parts`; its `forward` is the program."""
    module = import_module(workload.training_method.step)
    program: nn.Module = module.make_program(workload, parts)
    return program


def program_example(workload: Workload, parts: Parts) -> tuple[Tensor, ...]:
    """Returns the inputs of the method's program, in their order: of the right shapes and types."""
    example = {
        "tokens": torch.zeros(workload.b, workload.T, dtype=torch.int64),
        "first": torch.zeros(workload.b, dtype=torch.int64),
        "labels": torch.zeros(workload.b, max(workload.answers, workload.candidates), dtype=torch.int64),
        "key": torch.zeros(2, dtype=torch.int64),
        "lr": torch.tensor(1e-3),
        "eps": torch.tensor(1e-2),
        "adapter": torch.zeros(adapter_values(parts.layout)),
    }
    return tuple(example[name] for name in workload.training_method.inputs)


def block_example(workload: Workload, parts: Parts) -> tuple[Tensor, ...]:
    """Returns the inputs of a block with adapters, of the right shapes and types: hidden states, attention bias,
    adapters.
    """
    slices, first = _slices_per_chunk(workload), layers_below_adapters(parts.layout)
    slots = [slot for slot in parts.layout if slot.layer == first]
    adapters = [torch.zeros(slices, slot.rank, slot.features, dtype=parts.products) for slot in slots]
    return (*_states(workload, parts, slices), *adapters)


def _states(workload: Workload, parts: Parts, slices: int) -> tuple[Tensor, Tensor]:
    """Returns the inputs of a block without adapters: hidden states and attention bias for this many slices."""
    x = torch.zeros(slices, workload.b * workload.T, parts.config.hidden_size)
    return x, torch.zeros(slices * workload.b, 1, 1, workload.T, workload.T)


def _slices_per_chunk(workload: Workload) -> int:
    """Returns how many copies of the batch a block gets at a time, which is the same in all passes."""
    first_pass = next(Loops.of(workload).passes())
    return first_pass.chunks(workload.b * workload.T, workload.setting.rows_per_chunk)[0].slices
