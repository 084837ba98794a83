"""Frozen matrices as a setting stores them: how the runner's kernels get them, and what their values are.

The form follows from the type of the weight and the number of its scales: float32, float16 and bfloat16 without scales;
int8 with one, of each row; uint8 is NF4, with an absmax of each block or, doubly quantized, with the three that stand
for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.quantize import int8, nf4


def dequantize(weight: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """Returns the values of a frozen matrix, float32 [out, in]."""
    if weight.dtype == torch.uint8:
        return nf4.dequantize(weight, _absmax(scales))
    return int8.dequantize(weight, scales[0]) if weight.dtype == torch.int8 else weight.to(torch.float32)


def columns(weight: Tensor) -> int:
    """Returns how many values a row of a stored matrix stands for: a byte of NF4 has two."""
    return weight.shape[1] * (2 if weight.dtype == torch.uint8 else 1)


def largest_magnitudes(weight: Tensor, *scales: Tensor) -> Tensor:
    """Returns bounds of what a stored matrix stands for, infinite where its type cannot hold it.

    Of each value, or where there are scales of each row, group or block.
    """
    if not scales:
        return weight
    return _absmax(scales) if weight.dtype == torch.uint8 else scales[0] * 128.0


def _absmax(scales: Sequence[Tensor]) -> Tensor:
    return scales[0] if len(scales) == 1 else nf4.expand_absmax(*scales)


class Frozen(nn.Module):
    """A frozen matrix with its scales as buffers."""

    weight: Tensor

    def __init__(self, weight: Tensor, *scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self._names = [f"scale_{index}" for index in range(len(scales))]
        for name, scale in zip(self._names, scales, strict=True):
            self.register_buffer(name, scale)

    @property
    def scales(self) -> list[Tensor]:
        """The scales in the order in which operators take them."""
        return [self.get_buffer(name) for name in self._names]


class FrozenLinear(Frozen):
    """A linear layer without bias whose weight stays as it is stored; the runner's kernel multiplies it by tiles."""

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        result: Tensor = torch.ops.prge.linear_frozen(x, self.weight, self.scales)
        return result


class FrozenEmbedding(Frozen):
    """Rows of a table, dequantized for the tokens at hand; shares its table with the head of a tied model."""

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [b, T] -> float32 [b, T, hidden]."""
        if self.weight.dtype == torch.uint8:
            return nf4.look_up_rows(tokens, self.weight, _absmax(self.scales))
        rows = functional.embedding(tokens, self.weight).to(torch.float32)
        if self.weight.dtype == torch.int8:
            rows = rows * self.scales[0][tokens].unsqueeze(-1)  # no view: the scales may lie in a data file
        return rows
