"""int8: symmetric weights with a scale for each output channel; activations quantized per token at run time.

XNNPACK fuses these operators into one dynamically quantized product; run eagerly, they are its fake-quantized
reference.
"""

from __future__ import annotations

import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor, nn

WEIGHT_RANGE = (-127, 127)
ACTIVATION_RANGE = (-128, 127)
_operators = torch.ops.quantized_decomposed


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight float [out, in] -> (int8 [out, in], scale float32 [out]); scale = absmax of the row / 127."""
    weight = weight.to(torch.float32)
    absmax = weight.abs().amax(dim=1)
    scale = torch.where(absmax > 0, absmax / WEIGHT_RANGE[1], torch.ones_like(absmax))
    codes = torch.round(weight / scale[:, None]).clamp(*WEIGHT_RANGE)
    return codes.to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer without bias: int8 weight by channel, int8 activation by token."""

    weight: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", torch.zeros(weight.shape[0], dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        x = _quantized_and_back(x)
        return nn.functional.linear(x, self.dequantized())

    def dequantized(self) -> Tensor:
        """Returns the dequantized weight, float32 [out, in]."""
        weight: Tensor = _operators.dequantize_per_channel(
            self.weight, self.scale, self.zero_point, 0, *WEIGHT_RANGE, torch.int8
        )
        return weight


class DequantizedInt8Linear(nn.Module):
    """The same product from a weight that was dequantized beforehand: for many eager calls of one layer."""

    weight: Tensor

    def __init__(self, quantized: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("weight", quantized.dequantized())

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        return nn.functional.linear(_quantized_and_back(x), self.weight)


def _quantized_and_back(x: Tensor) -> Tensor:
    """Rounds x to a grid of 256 values for each token."""
    scale, zero_point = _operators.choose_qparams_per_token_asymmetric(x, torch.int8)
    activation_type = (*ACTIVATION_RANGE, torch.int8)
    codes = _operators.quantize_per_token(x, scale, zero_point, *activation_type)
    back: Tensor = _operators.dequantize_per_token(codes, scale, zero_point, *activation_type, torch.float32)
    return back


class Int8Embedding(nn.Module):
    """Rows of an int8 table, one scale for each row."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.reshape(-1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [b, T] -> float32 [b, T, hidden]."""
        rows = nn.functional.embedding(tokens, self.weight).to(torch.float32)
        return rows * nn.functional.embedding(tokens, self.scale)
