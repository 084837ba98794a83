"""Builds the module of a training step by backpropagation, with its layers lowered to delegates or as plain modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workloads.export.program import Parts, block_example
from workloads.lowering.delegation import DelegatedPart
from workloads.lowering.shared_delegate import Constants, delegate_shared
from workloads.methods.backprop_step import (
    Adam,
    BackpropStep,
    BatchShape,
    EagerLayer,
    GradientDescent,
    Optimizer,
    TrainedHead,
)
from workloads.methods.blocks import FrozenHeadBlock, LayerBlock
from workloads.methods.layer_backward import LayerBackward
from workloads.workload import BACKPROP_METHODS, Workload, adapter_values


class DelegatedLayer(nn.Module):
    """A layer by two delegates, forth and back, which all layers share."""

    def __init__(self, forth: DelegatedPart, back: DelegatedPart, constants: Constants) -> None:
        super().__init__()
        self.forth, self.backward, self.constants = forth, back, constants

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        result: Tensor = self.forth(x, bias, *adapters, *self.constants.values())
        return result

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> Sequence[Tensor]:
        """The gradients by x, and by each of the adapters."""
        result: Sequence[Tensor] = self.backward(x, bias, gradient, *adapters, *self.constants.values())
        return result


def delegated_layers(workload: Workload, parts: Parts) -> list[nn.Module]:
    """Lowers a layer forth and back, once for all layers."""
    x, bias, *adapters = block_example(workload, parts)
    first = _layer_block(parts.blocks[0])
    forth = delegate_shared(first, (x, bias, *adapters))
    back = delegate_shared(LayerBackward(first), (x, bias, torch.zeros_like(x), *adapters))
    return [DelegatedLayer(forth, back, Constants(block)) for block in parts.blocks]


def eager_layers(parts: Parts) -> list[nn.Module]:
    """Returns the layers as plain modules."""
    blocks = [_layer_block(block) for block in parts.blocks]
    return [EagerLayer(block, LayerBackward(block)) for block in blocks]


def backprop_step(workload: Workload, parts: Parts, layers: Sequence[nn.Module]) -> BackpropStep:
    """Returns the step over the layers, with a zero adapter."""
    optimizer: Optimizer = GradientDescent()
    if BACKPROP_METHODS[workload.method] == "Adam":
        optimizer = Adam(adapter_values(parts.layout))
    if not isinstance(parts.head, FrozenHeadBlock):
        raise TypeError(f"The way back begins at a head by the runner's kernels, not at {type(parts.head).__name__}")
    return BackpropStep(
        parts.embedding,
        layers,
        TrainedHead(parts.head),
        parts.layout,
        BatchShape(workload.T, workload.answers),
        parts.products,
        optimizer,
    )


def _layer_block(block: nn.Module) -> LayerBlock:
    if not isinstance(block, LayerBlock):
        raise TypeError(f"A layer of {type(block).__name__} has no way back")
    return block
