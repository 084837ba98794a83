"""Calls the kernels through ctypes, with frozen matrices in every format that they support."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.quantize import int8, nf4


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """The address of the values, as an argument."""
    return array.ctypes.data_as(ctypes.c_void_p)


def variants(kernels: ctypes.CDLL) -> Iterator[int]:
    """The instruction sets that this machine can run, by index, widest first."""
    index = 0
    while kernels.prge_variant_name(ctypes.c_uint64(index)) is not None:
        yield index
        index += 1


class Frozen(ctypes.Structure):
    """The struct of c_api.cpp."""

    _fields_ = (("form", ctypes.c_int64), ("values", ctypes.c_void_p), ("scales", ctypes.c_void_p * 3))


_FORMS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.int8: 3, torch.uint8: 4}


def frozen(weight: Tensor, scales: Sequence[Tensor]) -> Frozen:
    """A matrix as an argument; the tensors must outlive it."""
    form = _FORMS[weight.dtype] + (len(scales) == 3)
    addresses = [scale.data_ptr() for scale in scales]
    return Frozen(form, weight.data_ptr(), (ctypes.c_void_p * 3)(*addresses, *[None] * (3 - len(scales))))


def _doubly_quantized(weight: Tensor) -> tuple[Tensor, ...]:
    packed, absmax = nf4.quantize(weight)
    return packed, *nf4.compress_absmax(absmax)


PACK: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "fp16": lambda weight: (weight.to(torch.float16),),
    "bf16": lambda weight: (weight.to(torch.bfloat16),),
    "int8": int8.quantize,
    "nf4": nf4.quantize,
    "nf4-double": _doubly_quantized,
}
"""A float32 weight [out, in] -> the frozen matrix and its scales, by setting."""
