"""Operators of our own, as torch sees them: schemas, shapes for export, and eager reference kernels.

The runner carries the kernels that run on a device (devices/runner/kernels); docs/contracts.md has the semantics.
Importing this module registers the operators; registration happens once for a process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.prge.noise import normal
from workloads.prge.passes import BOTH, MINUS, PLUS
from workloads.quantize.nf4 import dequantize

# torch.library has no types: hence the ignores.
_library = torch.library.Library("prge", "DEF")  # type: ignore[no-untyped-call]

_PERTURB = (
    "Tensor adapter, Tensor key, Tensor eps, Tensor after, int offset, int rank, int features, "
    "int first_query, int queries, int signs"
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
    features: int,
    first_query: int,
    queries: int,
    signs: int,
) -> Tensor:
    """adapter[offset : offset + rank * features] ± eps * noise -> float32 [signs * queries, rank, features]."""
    del after
    seed, step = (int(value) for value in key)
    size = rank * features
    base = adapter[offset : offset + size]
    noise = torch.stack(
        [torch.from_numpy(normal(seed, step, first_query + query, offset, size)) for query in range(queries)]
    )
    chosen = {BOTH: (1.0, -1.0), PLUS: (1.0,), MINUS: (-1.0,)}[signs]
    return torch.cat([base + sign * eps * noise for sign in chosen]).reshape(-1, rank, features)


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


def _perturb_shape(
    adapter: Tensor,
    key: Tensor,
    eps: Tensor,
    after: Tensor,
    offset: int,
    rank: int,
    features: int,
    first_query: int,
    queries: int,
    signs: int,
) -> Tensor:
    del key, eps, after, offset, first_query
    return adapter.new_empty((2 if signs == BOTH else 1) * queries, rank, features)


def _update_shape(adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor) -> Tensor:
    del projected_gradient, pending_key, lr
    return torch.empty_like(adapter)


def _linear_nf4_shape(x: Tensor, packed: Tensor, absmax: Tensor) -> Tensor:
    del absmax
    return x.new_empty(*x.shape[:-1], packed.shape[0])


for _name, _schema, _kernel, _shape in (
    ("perturb", _PERTURB, perturb, _perturb_shape),
    ("update", _UPDATE, update, _update_shape),
    ("linear_nf4", _LINEAR_NF4, linear_nf4, _linear_nf4_shape),
):
    _library.define(f"{_name}({_schema}) -> Tensor")  # type: ignore[no-untyped-call]
    _library.define(f"{_name}.out({_schema}, *, Tensor(a!) out) -> Tensor(a!)")  # type: ignore[no-untyped-call]
    _library.impl(_name, _kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(_name, _shape, "Meta")  # type: ignore[no-untyped-call]
