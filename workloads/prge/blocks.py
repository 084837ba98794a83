"""The parts of a model that become one delegate each: a decoder layer, and the head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot
from workloads.models.llama import DecoderLayer, Llama, Rotary, operand, widened
from workloads.prge import ops as _ops  # registers linear_half  # noqa: F401
from workloads.prge import step_ops as _step_ops  # registers rms_norm  # noqa: F401


class LayerBlock(nn.Module):
    """A decoder layer whose perturbed adapters come as plain inputs, in the order of its slots."""

    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    def __init__(self, layer: DecoderLayer, slots: Sequence[AdapterSlot], rotary: Rotary) -> None:
        super().__init__()
        self.layer = layer
        self.projections = tuple(slot.projection for slot in slots)
        for name, table in vars(rotary).items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [slices, b * T, hidden], bias [slices * b, 1, 1, T, T], adapters [slices, rank, out] -> like x."""
        rotary = Rotary(self.query_cos, self.query_sin, self.key_cos, self.key_sin)
        result: Tensor = self.layer(x, rotary, bias, dict(zip(self.projections, adapters, strict=True)))
        return result


class HeadBlock(nn.Module):
    """The last norm and the output head. `products`: the type of the head's operands."""

    def __init__(self, model: Llama, products: torch.dtype) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head
        self.products = products

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [rows, hidden] -> logits float32 [rows, vocabulary]."""
        return widened(self.lm_head(operand(self.norm(x), self.products)))


class HalfHeadBlock(nn.Module):
    """The last norm and a head with float16 weights by the runner's kernels, which sum its products in float32.

    Logits are where rounding costs most: a loss is a difference of two of them, and they are the model's largest sums.
    """

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head
        self.epsilon = model.config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [rows, hidden] -> logits float32 [rows, vocabulary]."""
        normal = torch.ops.prge.rms_norm(x, self.norm.weight, self.epsilon)
        result: Tensor = torch.ops.prge.linear_half(normal, self.lm_head.get_parameter("weight"))
        return result
