"""Our own operators inside delegates: conversion between float32 and float16, and untransposed products.

The fp16 setting keeps in float32 what would lose digits (sums, norms, softmax) and multiplies in float16. ExecuTorch's
partitioner leaves torch's own conversions outside delegates, which would cut a layer into pieces;
workloads.lowering.delegation puts these two inside, so that no runtime has to know them.

A product with an untransposed matrix, as in the backward pass of a linear layer, is a flag of XNNPACK's product.
torch's own operators would need a copy of the weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

_library = torch.library.Library("prge", "FRAGMENT")  # type: ignore[no-untyped-call]


def to_half(x: Tensor) -> Tensor:
    """float32 -> the nearest float16, ties to even; beyond 65504 infinite."""
    result: Tensor = torch.ops.prge.to_half(x)
    return result


def to_single(x: Tensor) -> Tensor:
    """float16 -> the same values in float32."""
    result: Tensor = torch.ops.prge.to_single(x)
    return result


def times_untransposed(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., out] times weight [out, in] -> [..., in]."""
    result: Tensor = torch.ops.prge.times_untransposed(x, weight)
    return result


for _name, _dtype in (("to_half", torch.float16), ("to_single", torch.float32)):
    _library.define(f"{_name}(Tensor x) -> Tensor")  # type: ignore[no-untyped-call]
    _library.impl(  # type: ignore[no-untyped-call]
        _name, lambda x, dtype=_dtype: x.to(dtype), "CompositeExplicitAutograd"
    )
    _library.impl(  # type: ignore[no-untyped-call]
        _name, lambda x, dtype=_dtype: torch.empty_like(x, dtype=dtype), "Meta"
    )

_library.define("times_untransposed(Tensor x, Tensor weight) -> Tensor")  # type: ignore[no-untyped-call]
_library.impl(  # type: ignore[no-untyped-call]
    "times_untransposed", lambda x, weight: x @ weight, "CompositeExplicitAutograd"
)
_library.impl(  # type: ignore[no-untyped-call]
    "times_untransposed", lambda x, weight: x.new_empty(*x.shape[:-1], weight.shape[1]), "Meta"
)
