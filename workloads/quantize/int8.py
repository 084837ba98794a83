"""int8: symmetric weights with a scale for each output channel.

Two settings store their weights like this: int8 multiplies them with float32 activations, int8-dynamic with activations
that are quantized to 8 bits per token at run time. XNNPACK fuses the operators of the latter into one dynamically
quantized product; run eagerly, they are its fake-quantized reference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor, nn

WEIGHT_RANGE = (-127, 127)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight float [out, in] -> (int8 [out, in], scale float32 [out]); scale = absmax of the row / 127.

    A row too small for a normal scale becomes zeros with scale one.
    """
    weight = weight.to(torch.float32)
    scale = normal_or_one(weight.abs().amax(dim=1) / WEIGHT_RANGE[1])
    codes = torch.round(weight / scale[:, None]).clamp(*WEIGHT_RANGE)
    return codes.to(torch.int8), scale


def normal_or_one(scale: Tensor) -> Tensor:
    """Replaces zero and subnormal scales, which XNNPACK refuses, by one; all codes of theirs are then zero.

    A float32 below 1.2e-38 is subnormal, of bfloat16 likewise. Weights that small change no product.
    """
    return torch.where(scale < torch.finfo(torch.float32).tiny, torch.ones_like(scale), scale)


def dequantize(codes: Tensor, scale: Tensor) -> Tensor:
    """codes int8 [out, in], scale float32 [out] -> float32 [out, in]."""
    return codes.to(scale.dtype) * scale.reshape(-1, 1)


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
    """The same from `product`, whose weight was dequantized beforehand: for many eager calls of one layer."""

    def __init__(self, product: nn.Linear) -> None:
        super().__init__()
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [..., in] -> [..., out]."""
        result: Tensor = self.product(_quantized_and_back(x))
        return result


def _quantized_and_back(x: Tensor) -> Tensor:
    """Rounds x to a grid of 256 values for each token."""
    scale, zero_point = operators.choose_qparams_per_token_asymmetric(x, torch.int8)
    activation_type = (*ACTIVATION_RANGE, torch.int8)
    codes = operators.quantize_per_token(x, scale, zero_point, *activation_type)
    back: Tensor = operators.dequantize_per_token(codes, scale, zero_point, *activation_type, torch.float32)
    return back
