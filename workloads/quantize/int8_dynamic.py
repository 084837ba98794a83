"""int8-dynamic: weights as in int8, and activations quantized to 8 bits per token at run time.

XNNPACK fuses these operators into one dynamically quantized product; run eagerly, they are its fake-quantized
reference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor, nn

from workloads.quantize.int8 import WEIGHT_RANGE

ACTIVATION_RANGE = (-128, 127)
operators = torch.ops.quantized_decomposed


class DynamicLinear(nn.Module, ABC):
    """A linear layer without bias: codes with scales as weight, int8 activations by token."""

    weight: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, zero_point: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        x = _quantized_and_back(x)
        return nn.functional.linear(x, self.dequantized())

    @abstractmethod
    def dequantized(self) -> Tensor:
        """Returns the dequantized weight, float32 [out, in]."""


class DynamicInt8Linear(DynamicLinear):
    """The same with a weight of 8 bits by channel."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__(weight, scale, torch.zeros(weight.shape[0], dtype=torch.int64))

    def dequantized(self) -> Tensor:
        """Returns the dequantized weight, float32 [out, in]."""
        weight: Tensor = operators.dequantize_per_channel(
            self.weight, self.scale, self.zero_point, 0, *WEIGHT_RANGE, torch.int8
        )
        return weight


class DequantizedDynamicLinear(nn.Module):
    """The same product from a weight that was dequantized beforehand: for many eager calls of one layer."""

    weight: Tensor

    def __init__(self, quantized: DynamicLinear) -> None:
        super().__init__()
        self.register_buffer("weight", quantized.dequantized())

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        return nn.functional.linear(_quantized_and_back(x), self.weight)


def _quantized_and_back(x: Tensor) -> Tensor:
    """Rounds x to a grid of 256 values for each token."""
    scale, zero_point = operators.choose_qparams_per_token_asymmetric(x, torch.int8)
    activation_type = (*ACTIVATION_RANGE, torch.int8)
    codes = operators.quantize_per_token(x, scale, zero_point, *activation_type)
    back: Tensor = operators.dequantize_per_token(codes, scale, zero_point, *activation_type, torch.float32)
    return back
