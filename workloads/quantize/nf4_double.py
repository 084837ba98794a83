"""Double quantization of NF4: the absmax of a block of 64 weights as a code of 8 bits, instead of a float32.

The mean of all absmax of a matrix is subtracted; what is left is quantized in blocks of 256 with a float32 absmax of
their own, to the nearest of 256 values of a dynamic data type (Dettmers et al., "8-bit Optimizers via Block-wise
Quantization", arXiv 2110.02861). Equals bitsandbytes' `quantize_4bit(quant_type="nf4", blocksize=64,
compress_statistics=True)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.quantize.nf4 import without_subnormals

BLOCK = 256

_STEPS = 65_535
"""Equal steps from -1 to 1 to which a value is rounded before its code is chosen, as bitsandbytes does on CPUs.

It looks codes up in a table there. One absmax in 600 gets the neighbour of its nearest code by that.
"""


def _dynamic_codes() -> Tensor:
    """Returns the 256 values, ascending: 0, 1, and 2^i equal steps from 0.1 to 1 of 10^(i - 6), i = 0 .. 6, signed."""
    values = [0.0, 1.0]
    for exponent in range(7):
        borders = torch.linspace(0.1, 1.0, 2**exponent + 1, dtype=torch.float32)
        middles = 10.0 ** (exponent - 6) * ((borders[:-1] + borders[1:]) / 2.0)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values), dtype=torch.float32)


CODES = _dynamic_codes()


def compress(absmax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """absmax float32 [blocks] -> (codes uint8 [blocks], scale float32 [ceil(blocks / 256)], offset float32 [1])."""
    offset = absmax.mean()
    if not bool(offset.isfinite()):  # the sum overflowed
        offset = absmax.to(torch.float64).mean().to(torch.float32)
    centred = absmax - offset
    groups = torch.nn.functional.pad(centred, (0, -centred.numel() % BLOCK)).reshape(-1, BLOCK)
    scale = without_subnormals(groups.abs().amax(dim=1))
    scaled = groups * torch.where(scale > 0, 1.0 / scale, torch.zeros_like(scale))[:, None]
    steps = torch.floor((scaled + 1.0) * (_STEPS / 2) + 0.5)
    codes = torch.bucketize(steps / _STEPS * 2.0 - 1.0, (CODES[1:] + CODES[:-1]) / 2)
    codes[scale == 0] = 0
    return codes.reshape(-1)[: absmax.numel()].to(torch.uint8), scale, offset.reshape(1)


def expand(codes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Reverses `compress` but for the rounding -> absmax float32 [blocks]."""
    return CODES[codes.int()] * scale.repeat_interleave(BLOCK)[: codes.numel()] + offset
