"""Operators of our own, as torch sees them: schemas, shapes for export, and eager reference kernels.

The runner carries the kernels that run on a device (devices/runner/kernels); docs/contracts.md has the semantics.
Importing this module registers the operators; registration happens once for a process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workloads.prge.noise import normal
from workloads.prge.passes import BOTH, MINUS, PLUS
from workloads.quantize.nf4 import dequantize

# torch.library has no types: hence the ignores.
_library = torch.library.Library("prge", "DEF")  # type: ignore[no-untyped-call]

_PERTURB = (
    "Tensor adapter, Tensor key, Tensor eps, Tensor after, int offset, int rank, int[] features, "
    "int first_query, int queries, int signs, bool half"
)
_UPDATE = "Tensor adapter, Tensor projected_gradient, Tensor pending_key, Tensor lr"
_LINEAR_NF4 = "Tensor x, Tensor packed, Tensor absmax"


def perturb(
    adapter: Tensor,
    key: Tensor,
    eps: Tensor,
    after: Tensor,
    offset: int,
    rank: int,
    features: Sequence[int],
    first_query: int,
    queries: int,
    signs: int,
    half: bool,
) -> list[Tensor]:
    """adapter[...] ± eps * noise, from `offset` on -> [signs * queries, rank, f] for each f of `features`."""
    del after
    seed, step = (int(value) for value in key)
    perturbed = []
    for width in features:
        size = rank * width
        base = adapter[offset : offset + size]
        noise = torch.stack(
            [torch.from_numpy(normal(seed, step, first_query + query, offset, size)) for query in range(queries)]
        )
        chosen = {BOTH: (1.0, -1.0), PLUS: (1.0,), MINUS: (-1.0,)}[signs]
        both = torch.cat([base + sign * eps * noise for sign in chosen]).reshape(-1, rank, width)
        perturbed.append(both.to(torch.float16) if half else both)
        offset += size
    return perturbed


def update(adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
    """adapter - lr * mean over the queries of projected_gradient[i] * noise(pending_key, i) -> float32 [n]."""
    seed, step = (int(value) for value in pending_key)
    direction = torch.zeros_like(adapter)
    for query, gradient in enumerate(projected_gradient):
        direction += gradient * torch.from_numpy(normal(seed, step, query, 0, adapter.numel()))
    return adapter - lr * direction / projected_gradient.numel()


def linear_nf4(x: Tensor, packed: Tensor, absmax: Tensor) -> Tensor:
    """x [..., in] times the transposed NF4 weight [out, in] -> [..., out], both float32."""
    return torch.nn.functional.linear(x, dequantize(packed, absmax))


def linear_half(x: Tensor, weight: Tensor) -> Tensor:
    """float32 x [rows, in] times the transposed float16 weight [out, in], summed in float32 -> float32 [rows, out]."""
    return torch.nn.functional.linear(x, weight.to(torch.float32))


def _perturb_shape(
    adapter: Tensor,
    key: Tensor,
    eps: Tensor,
    after: Tensor,
    offset: int,
    rank: int,
    features: Sequence[int],
    first_query: int,
    queries: int,
    signs: int,
    half: bool,
) -> list[Tensor]:
    del key, eps, after, offset, first_query
    slices, dtype = (2 if signs == BOTH else 1) * queries, torch.float16 if half else torch.float32
    return [adapter.new_empty((slices, rank, width), dtype=dtype) for width in features]


def _update_shape(adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
    del projected_gradient, pending_key, lr
    return torch.empty_like(adapter)


def _linear_nf4_shape(x: Tensor, packed: Tensor, absmax: Tensor) -> Tensor:
    del absmax
    return x.new_empty(*x.shape[:-1], packed.shape[0])


def _linear_half_shape(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


ONE, _ONE_OUT = "Tensor", ("Tensor(a!) out", "Tensor(a!)")
_LIST, _LIST_OUT = "Tensor[]", ("Tensor(a!)[] out", "()")


def register(
    name: str, arguments: str, result: str, kernel: Callable[..., object], shape: Callable[..., object]
) -> None:
    """Make an operator known in both its forms; `shape` gives results that have the right shape and no values."""
    out, out_result = _ONE_OUT if result == ONE else _LIST_OUT
    _library.define(f"{name}({arguments}) -> {result}")  # type: ignore[no-untyped-call]
    _library.define(f"{name}.out({arguments}, *, {out}) -> {out_result}")  # type: ignore[no-untyped-call]
    _library.impl(name, kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(name, shape, "Meta")  # type: ignore[no-untyped-call]


register("perturb", _PERTURB, _LIST, perturb, _perturb_shape)
register("update", _UPDATE, ONE, update, _update_shape)
register("linear_nf4", _LINEAR_NF4, ONE, linear_nf4, _linear_nf4_shape)
register("linear_half", "Tensor x, Tensor weight", ONE, linear_half, _linear_half_shape)
