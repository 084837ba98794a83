"""One training step by backpropagation as one `forward`: forward pass, backward pass layer by layer, update.

The forward pass keeps only the input of each layer. The backward pass computes a layer again from its input (as Apple's
MeBP does on phones, arXiv 2510.03425) and updates its adapters before it continues with the preceding layer. So memory
holds a forward pass, the layers' inputs, and one layer's activations and gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from workloads.methods import backprop_operators  # registers the operators  # noqa: F401
from workloads.methods.blocks import FrozenHeadBlock, LayerBlock, by_kernel
from workloads.methods.ends import KernelEnds
from workloads.methods.layer_backward import LayerBackward
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import UNPERTURBED_PASS
from workloads.methods.perturbation import KernelNoise, Perturbed
from workloads.quantize.frozen import Frozen
from workloads.workload import Workload, adapter_values, layers_below_adapters


class TrainedLayer(Protocol):
    """A decoder layer with a forward and a backward pass, for one slice."""

    def __call__(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [1, b * T, hidden], bias [b, 1, 1, T, T], adapters [1, rank, out] -> like x."""

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> Sequence[Tensor]:
        """Takes forward's inputs and the gradient by its result -> the gradients by x and by each of the adapters."""


class EagerLayer(nn.Module):
    """A TrainedLayer made of two modules around the same constants."""

    def __init__(self, forth: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.forth, self.backward = forth, back

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        result: Tensor = self.forth(x, bias, *adapters)
        return result

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> Sequence[Tensor]:
        """The gradients by x, and by each of the adapters."""
        result: Sequence[Tensor] = self.backward(x, bias, gradient, *adapters)
        return result


class TrainedHead(nn.Module):
    """The last norm and the head by the runner's kernels, which sum products in float32."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if not isinstance(block, FrozenHeadBlock):
            raise TypeError(f"{type(block).__name__} has no backward pass")
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [b * K, hidden] -> logits float32 [b * K, vocabulary]."""
        result: Tensor = self.block(x)
        return result

    def back(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Takes the gradient by the logits -> the gradient by x."""
        head = self.block.lm_head
        scales = head.scales if isinstance(head, Frozen) else []
        normal = torch.ops.prge.linear_frozen_back(gradient, head.weight, scales)
        result: Tensor = torch.ops.prge.rms_norm_back(normal, x, self.block.norm.weight, self.block.epsilon)
        return result


class Optimizer(nn.Module, ABC):
    """Applies the gradients of a layer's adapters, which are in the flat adapter from `offset` on."""

    def start(self) -> None:
        """Starts a step."""

    @abstractmethod
    def take(self, adapter: Tensor, gradients: list[Tensor], lr: Tensor, offset: int) -> Tensor:
        """Takes a layer's gradients and returns the adapter."""

    def finish(self, adapter: Tensor, key: Tensor, lr: Tensor) -> Tensor:
        """Returns the adapter after the gradients of all layers."""
        del key, lr
        return adapter


class GradientDescent(Optimizer):
    """adapter - lr * gradient, at once."""

    def take(self, adapter: Tensor, gradients: list[Tensor], lr: Tensor, offset: int) -> Tensor:
        """Returns the adapter with a layer's updates."""
        result: Tensor = torch.ops.prge.descend(adapter, gradients, lr, offset)
        return result


class Adam(Optimizer):
    """Adam without weight decay (Kingma & Ba, 2015), its moments float32 like the adapter."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    first_moment: Tensor
    second_moment: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        self.register_buffer("first_moment", torch.zeros(values))
        self.register_buffer("second_moment", torch.zeros(values))

    def start(self) -> None:
        """Starts from the moments that the last step left."""
        self._moments = (self.first_moment, self.second_moment)

    def take(self, adapter: Tensor, gradients: list[Tensor], lr: Tensor, offset: int) -> Tensor:
        """Adds a layer's gradients to the moments."""
        del lr
        first, second = self._moments
        self._moments = (
            torch.ops.prge.moving_mean(first, gradients, offset, self.BETAS[0], False),
            torch.ops.prge.moving_mean(second, gradients, offset, self.BETAS[1], True),
        )
        return adapter

    def finish(self, adapter: Tensor, key: Tensor, lr: Tensor) -> Tensor:
        """Returns the updated adapter; `key` has the step's number."""
        first, second = self._moments
        result: Tensor = torch.ops.prge.adam(adapter, first, second, key, lr, list(self.BETAS), self.EPSILON)
        self.first_moment.copy_(first)
        self.second_moment.copy_(second)
        return result


class BackpropStep(nn.Module):
    """A training step over a frozen model that is given as parts, eager or delegated.

    Layers below the first adapter need no backward pass. State: adapter float32 [n], and what the optimizer keeps.
    """

    adapter: Tensor

    def __init__(self, parts: Parts, layers: Sequence[nn.Module], shape: Shape, optimizer: Optimizer) -> None:
        super().__init__()
        self.embedding, self.head = parts.embedding, TrainedHead(parts.head)
        below = layers_below_adapters(parts.layout)
        self.below, self.layers = nn.ModuleList(layers[:below]), nn.ModuleList(layers[below:])
        self.layout, self.shape, self.optimizer = parts.layout, shape, optimizer
        self.noise = KernelNoise(parts.products)
        # The head, which is a kernel of the runner, reads a tied table too.
        self.ends = KernelEnds(alone=not parts.config.tie_embeddings)
        self.register_buffer("adapter", torch.zeros(adapter_values(parts.layout)))

    def forward(
        self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Runs the step of docs/contracts.md -> (losses float32 [1], row_losses float32 [1, b])."""
        x = self.ends.embed(self.embedding, tokens, 1)
        bias = self.ends.attention_bias(first, self.shape.length, 1)
        inputs, adapters = [], self._adapters(self.adapter, key, eps)
        for layer in self.below:
            x = layer(x, bias)
        for index, layer in enumerate(self.layers, start=len(self.below)):
            inputs.append(x)
            x = layer(x, bias, *adapters(index, x))
        answers = self.ends.answer_rows(x, self.shape.length, self.shape.answers)
        logits = self.head(answers)
        row_losses = self.ends.answer_losses(logits, labels)
        losses = self.ends.mean_losses(row_losses.unsqueeze(0), labels).view(1)
        gradient = self.head.back(answers, torch.ops.prge.loss_gradient(logits, labels))
        gradient = torch.ops.prge.spread_rows(gradient, self.shape.length, self.shape.answers)
        self.adapter.copy_(self._go_back(gradient, inputs, bias, key, lr, eps))
        return losses, row_losses

    def _go_back(
        self, gradient: Tensor, inputs: list[Tensor], bias: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> Tensor:
        """Returns the updated adapter."""
        adapter = self.adapter
        self.optimizer.start()
        for place in reversed(range(len(inputs))):
            layer: TrainedLayer = self.layers[place]  # type: ignore[assignment] # a ModuleList has no element type
            index = len(self.below) + place
            adapters = self._adapters(adapter, key, eps)(index, gradient)
            gradient, *found = layer.back(inputs[place], bias, gradient, *adapters)
            if found:
                offset = next(slot.offset for slot in self.layout if slot.layer == index)
                adapter = self.optimizer.take(adapter, found, lr, offset)
        return self.optimizer.finish(adapter, key, lr)

    def _adapters(self, adapter: Tensor, key: Tensor, eps: Tensor) -> Perturbed:
        """Returns each B of a layer in the form that products take; key and eps add no noise."""
        return self.noise.perturbed(adapter, key, eps, self.layout, UNPERTURBED_PASS)


def make_program(workload: Workload, parts: Parts) -> BackpropStep:
    """Returns the step over `parts`, with a zero adapter; the blocks are trained layers, or eager ones."""

    def layer(index: int, block: nn.Module) -> nn.Module:
        if hasattr(block, "back"):
            return block
        if workload.by_kernel and isinstance(block, LayerBlock):
            return by_kernel(block, [slot for slot in parts.layout if slot.layer == index])
        return EagerLayer(block, LayerBackward(block))

    layers = [layer(index, block) for index, block in enumerate(parts.blocks)]
    by_adam = workload.training_method.optimizer == "adam"
    optimizer = Adam(adapter_values(parts.layout)) if by_adam else GradientDescent()
    return BackpropStep(parts, layers, Shape.of(workload), optimizer)
