"""NF4: four-bit codes of a normal distribution's quantiles, with one float32 absmax for each block of 64 weights.

Dettmers et al., "QLoRA", arXiv 2305.14314; the codes, the packing (first value in the high nibble) and the rounding
equal bitsandbytes' `quantize_4bit(quant_type="nf4", blocksize=64, compress_statistics=False)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64

CODES = torch.tensor(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ]
)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight float [out, in], in even -> (packed uint8 [out, in / 2], absmax float32 [ceil(out * in / 64)]).

    Blocks run over the flattened weight; a code is the nearest of the 16 values of weight / absmax. A block whose
    absmax is subnormal, and has no finite reciprocal, is stored as zeros.
    """
    flat = weight.to(torch.float32).reshape(-1)
    padding = -flat.numel() % BLOCK
    blocks = torch.nn.functional.pad(flat, (0, padding)).reshape(-1, BLOCK)
    absmax = without_subnormals(blocks.abs().amax(dim=1))
    scaled = blocks * torch.where(absmax > 0, 1.0 / absmax, torch.zeros_like(absmax))[:, None]
    borders = (CODES[1:] + CODES[:-1]) / 2
    codes = torch.bucketize(scaled, borders).reshape(-1)[: flat.numel()].to(torch.uint8)
    packed = (codes[0::2] << 4) | codes[1::2]
    return packed.reshape(weight.shape[0], -1), absmax


def without_subnormals(scale: Tensor) -> Tensor:
    """Replaces float32 scales that are not normal numbers by zero."""
    return torch.where(scale < torch.finfo(torch.float32).tiny, torch.zeros_like(scale), scale)


def dequantize(packed: Tensor, absmax: Tensor) -> Tensor:
    """packed uint8 [out, in / 2], absmax float32 [blocks] -> float32 [out, in]."""
    of_byte = torch.stack([CODES.repeat_interleave(16), CODES.repeat(16)], dim=1)
    values = torch.nn.functional.embedding(packed.reshape(-1).int(), of_byte).reshape(-1)
    if values.numel() % BLOCK:
        return (values * absmax.repeat_interleave(BLOCK)[: values.numel()]).reshape(packed.shape[0], -1)
    return (values.reshape(-1, BLOCK) * absmax[:, None]).reshape(packed.shape[0], -1)


def look_up_rows(tokens: Tensor, packed: Tensor, absmax: Tensor) -> Tensor:
    """Rows of a packed table, dequantized alone: tokens int64 [...] -> float32 [..., in]."""
    rows = packed[tokens]
    values = CODES[torch.stack([rows >> 4, rows & 0xF], dim=-1).long()].flatten(-2)
    width = values.shape[-1]
    # Blocks may span rows: each value's block is that of its place in the flattened table.
    return values * absmax[(tokens[..., None] * width + torch.arange(width)) // BLOCK]
