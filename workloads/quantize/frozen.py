"""Frozen matrices in a setting's stored form: how the runner's kernels get them, and what their values are.

The form follows from the type of the weight and the number of its scale tensors: float32, float16 and bfloat16 have
none; int8 has one, with a scale per row; uint8 is NF4, with an absmax per block or, doubly quantized, with the three
tensors that represent it.
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
    """Returns how many values a row of a stored matrix represents: a byte of NF4 has two."""
    return weight.shape[1] * (2 if weight.dtype == torch.uint8 else 1)


def largest_magnitudes(weight: Tensor, *scales: Tensor) -> Tensor:
    """Returns bounds of a stored matrix's magnitudes, infinite where its type overflowed.

    One for each value or, with scales, for each row, group or block.
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
        """The scales in the order of the operators' arguments."""
        return [self.get_buffer(name) for name in self._names]


class FrozenLinear(Frozen):
    """A linear layer without bias whose weight stays in its stored form; the runner's kernel multiplies it in tiles."""

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
            rows = rows * self.scales[0][tokens].unsqueeze(-1)  # not a view: the scales may be in a data file
        return rows
