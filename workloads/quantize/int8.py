"""int8: symmetric weights with a scale for each output channel.

Two settings store their weights like this: int8 multiplies them with float32 activations, int8-dynamic with activations
of 8 bits (int8_dynamic.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

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
