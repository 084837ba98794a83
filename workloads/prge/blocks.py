"""The parts of a model that become one delegate each: a decoder layer, and the head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot
from workloads.models.llama import DecoderLayer, Llama, Rotary


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
    """The last norm and the output head."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head

    def forward(self, x: Tensor) -> Tensor:
        """x [rows, hidden] -> logits [rows, vocabulary]."""
        result: Tensor = self.lm_head(self.norm(x))
        return result
