"""NF4: four-bit codes of a normal distribution's quantiles, with one absmax for each block of 64 weights.

Dettmers et al., "QLoRA", arXiv 2305.14314; the codes, the packing (first value in the high nibble) and the rounding
equal bitsandbytes' `quantize_4bit(quant_type="nf4", blocksize=64, compress_statistics=False)`.

An absmax is a float32 or, doubly quantized (nf4-double), an 8-bit code: the mean of all absmax of a matrix is
subtracted; the rest is quantized in blocks of 256, each with its own float32 absmax, to the nearest of 256 values of a
dynamic data type (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861). Equals the same
call with `compress_statistics=True`.
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
    """Replaces float32 scales that are not normal numbers with zero."""
    return torch.where(scale < torch.finfo(torch.float32).tiny, torch.zeros_like(scale), scale)


def dequantize(packed: Tensor, absmax: Tensor) -> Tensor:
    """packed uint8 [out, in / 2], absmax float32 [blocks] -> float32 [out, in]."""
    of_byte = torch.stack([CODES.repeat_interleave(16), CODES.repeat(16)], dim=1)
    values = torch.nn.functional.embedding(packed.reshape(-1).int(), of_byte).reshape(-1)
    if values.numel() % BLOCK:
        return (values * absmax.repeat_interleave(BLOCK)[: values.numel()]).reshape(packed.shape[0], -1)
    return (values.reshape(-1, BLOCK) * absmax[:, None]).reshape(packed.shape[0], -1)


def look_up_rows(tokens: Tensor, packed: Tensor, absmax: Tensor) -> Tensor:
    """Dequantizes only the tokens' rows of a packed table: tokens int64 [...] -> float32 [..., in]."""
    rows = packed[tokens]
    values = CODES[torch.stack([rows >> 4, rows & 0xF], dim=-1).long()].flatten(-2)
    width = values.shape[-1]
    # Blocks may span rows: each value's block is that of its place in the flattened table.
    return values * absmax[(tokens[..., None] * width + torch.arange(width)) // BLOCK]


ABSMAX_BLOCK = 256

_STEPS = 65_535
"""The number of equal steps from -1 to 1 to which a value is rounded before its code is chosen.

bitsandbytes does so on CPUs, where it looks up codes in a table. One absmax in 600 thus gets the neighbour of its
nearest code.
"""


def _dynamic_codes() -> Tensor:
    """Returns the 256 values, ascending: 0, 1, and 2^i equal steps from 0.1 to 1 of 10^(i - 6), i = 0 .. 6, signed."""
    values = [0.0, 1.0]
    for exponent in range(7):
        borders = torch.linspace(0.1, 1.0, 2**exponent + 1, dtype=torch.float32)
        middles = 10.0 ** (exponent - 6) * ((borders[:-1] + borders[1:]) / 2.0)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values), dtype=torch.float32)


ABSMAX_CODES = _dynamic_codes()


def compress_absmax(absmax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """absmax float32 [blocks] -> (codes uint8 [blocks], scale float32 [ceil(blocks / 256)], offset float32 [1])."""
    offset = absmax.mean()
    if not bool(offset.isfinite()):  # the sum overflowed
        offset = absmax.to(torch.float64).mean().to(torch.float32)
    centred = absmax - offset
    groups = torch.nn.functional.pad(centred, (0, -centred.numel() % ABSMAX_BLOCK)).reshape(-1, ABSMAX_BLOCK)
    scale = without_subnormals(groups.abs().amax(dim=1))
    scaled = groups * torch.where(scale > 0, 1.0 / scale, torch.zeros_like(scale))[:, None]
    steps = torch.floor((scaled + 1.0) * (_STEPS / 2) + 0.5)
    codes = torch.bucketize(steps / _STEPS * 2.0 - 1.0, (ABSMAX_CODES[1:] + ABSMAX_CODES[:-1]) / 2)
    codes[scale == 0] = 0
    return codes.reshape(-1)[: absmax.numel()].to(torch.uint8), scale, offset.reshape(1)


def expand_absmax(codes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Reverses `compress_absmax`, except for the rounding -> absmax float32 [blocks]."""
    return ABSMAX_CODES[codes.int()] * scale.repeat_interleave(ABSMAX_BLOCK)[: codes.numel()] + offset
