"""int8: symmetric weights with a scale for each output channel.

Two settings store their weights like this: int8 multiplies them with float32 activations, int8-dynamic with activations
of 8 bits (int8_dynamic.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT_RANGE = (-127, 127)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight float [out, in] -> (int8 [out, in], scale float32 [out]); scale = absmax of the row / 127."""
    weight = weight.to(torch.float32)
    absmax = weight.abs().amax(dim=1)
    scale = torch.where(absmax > 0, absmax / WEIGHT_RANGE[1], torch.ones_like(absmax))
    codes = torch.round(weight / scale[:, None]).clamp(*WEIGHT_RANGE)
    return codes.to(torch.int8), scale


def dequantize(codes: Tensor, scale: Tensor) -> Tensor:
    """codes int8 [out, in], scale float32 [out] -> float32 [out, in]."""
    return codes.to(scale.dtype) * scale.reshape(-1, 1)
