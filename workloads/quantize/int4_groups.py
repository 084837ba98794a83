"""8da4w: symmetric 4-bit weights with a scale for each group of 32 in a row, and 8-bit activations per token.

This is XNNPACK's own 4-bit product (qd8 with qb4w), which Llama programs for phones use; it takes bfloat16 scales.
Scales and rounding are those of torchao's Int8DynamicActivationInt4WeightConfig, except for the scales' rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workloads.quantize.int8 import DynamicLinear, normal_or_one, operators

GROUP = 32
WEIGHT_RANGE = (-8, 7)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight float [out, in], in a multiple of 32 -> (codes int8 [out, in], scale float32 [out, in / 32]).

    scale = absmax of the group / 7.5, rounded to bfloat16; one where that is not a normal number.
    """
    groups = weight.to(torch.float32).reshape(weight.shape[0], -1, GROUP)
    absmax = groups.abs().amax(dim=2)
    scale = normal_or_one((absmax / 7.5).to(torch.bfloat16).to(torch.float32))
    codes = torch.round(groups / scale[..., None]).clamp(*WEIGHT_RANGE)
    return codes.to(torch.int8).reshape(weight.shape), scale


class GroupedInt4Linear(DynamicLinear):
    """A linear layer without bias: 4-bit weight in groups, one code per byte until it is written to a program."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__(weight, scale, torch.zeros(scale.shape, dtype=torch.int32))

    def dequantized(self) -> Tensor:
        """Returns the dequantized weight, float32 [out, in]."""
        weight: Tensor = operators.dequantize_per_channel_group(
            self.weight, self.scale, self.zero_point, *WEIGHT_RANGE, torch.int8, GROUP, torch.float32
        )
        return weight

    def written(self) -> dict[str, Tensor]:
        """Returns the constants as XNNPACK's serializer writes them: two codes per byte, the first in the low
        nibble."""
        codes = self.weight.to(torch.uint8) + 8
        return {"weight": codes[:, 1::2] << 4 | codes[:, ::2], "scale": self.scale.to(torch.bfloat16)}


def read_constants(module: nn.Module, written: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reverses `written_constants`, for a module of the same shape."""
    found: dict[str, Tensor] = {}
    for prefix in _prefixes(module):
        packed, scale = written[f"{prefix}weight"], written[f"{prefix}scale"]
        codes = torch.stack([packed & 0xF, packed >> 4], dim=-1).reshape(packed.shape[0], -1)
        found |= {f"{prefix}weight": codes.to(torch.int8) - 8, f"{prefix}scale": scale.to(torch.float32)}
    return found


def written_constants(module: nn.Module) -> dict[str, Tensor]:
    """Returns the constants of a module's 4-bit products by name, as they are written to a program."""
    return {
        f"{prefix}{name}": tensor
        for prefix, part in _prefixes(module).items()
        for name, tensor in part.written().items()
    }


def _prefixes(module: nn.Module) -> dict[str, GroupedInt4Linear]:
    """Returns the 4-bit linears by the prefix of their constants' names."""
    named = ((name, part) for name, part in module.named_modules() if isinstance(part, GroupedInt4Linear))
    return {f"{name}." if name else "": part for name, part in named}
