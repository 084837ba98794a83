"""Our own operators for training what a model is stored as: schemas, shapes for export, and eager reference kernels.

A matrix or vector has a number, its slot, which takes the place of the query in its noise; positions count through it
row by row (docs/contracts.md, "Noise of weights").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.methods.noise import ROUNDING_STREAM, normal, uniform
from workloads.methods.operators import GENERAL_LAYER, ONE, decoder_layer, layer_shape, like_first, register

_NOISE = "Tensor key, Tensor eps, int slot, int sign"
_LAYER_NOISE = "Tensor key, Tensor eps, int[] slots, int sign"


def perturbed(weight: Tensor, key: Tensor, eps: Tensor, slot: int, sign: int) -> Tensor:
    """Weight + sign * eps * noise, float32 like the weight."""
    seed, step = (int(value) for value in key)
    noise = torch.from_numpy(normal(seed, step, slot, 0, weight.numel())).reshape(weight.shape)
    return weight.to(torch.float32) + sign * eps * noise


def embed_perturbed(tokens: Tensor, table: Tensor, key: Tensor, eps: Tensor, slot: int, sign: int) -> Tensor:
    """Rows of a perturbed table for tokens int64 [b, T] -> float32 [1, b * T, hidden]."""
    return perturbed(table, key, eps, slot, sign)[tokens.reshape(-1)][None]


def linear_perturbed(x: Tensor, weight: Tensor, key: Tensor, eps: Tensor, slot: int, sign: int) -> Tensor:
    """x float32 [rows, in] times the transposed perturbed weight [out, in] -> [rows, out]."""
    return x @ perturbed(weight, key, eps, slot, sign).T


def perturbed_layer(
    x: Tensor,
    bias: Tensor,
    scratch: Tensor,
    key: Tensor,
    eps: Tensor,
    slots: Sequence[int],
    sign: int,
    norms: Sequence[Tensor],
    rotary: Sequence[Tensor],
    weights: Sequence[Tensor],
    *rest: Any,
) -> Tensor:
    """prge::general_layer with each of the seven weights perturbed; norms and vectors come perturbed already."""
    moved = [perturbed(weight, key, eps, slot, sign) for weight, slot in zip(weights, slots, strict=True)]
    return decoder_layer(x, bias, scratch, norms, rotary, moved, *rest)


def move_weight(weight: Tensor, gradient: Tensor, key: Tensor, lr: Tensor, slot: int) -> Tensor:
    """Weight - lr * gradient * noise, rounded at random to one of the two values beside it: like the weight.

    gradient float32 [1]. A gradient of zero changes no bit.
    """
    seed, step = (int(value) for value in key)
    rate = float(lr * gradient[0])
    if rate == 0.0:
        return weight.clone()
    noise = normal(seed, step, slot, 0, weight.numel()).astype(np.float64)
    draws = uniform(seed, step, slot + ROUNDING_STREAM, 0, weight.numel())
    exact = weight.reshape(-1).to(torch.float64).numpy() - rate * noise
    moved = torch.from_numpy(_rounded(exact, draws, *_FORMATS[weight.dtype]))
    return moved.to(weight.dtype).reshape(weight.shape)


def clipped(x: Tensor, limit: float) -> Tensor:
    """Values of x, or the limit with their sign where they are beyond it."""
    return x.clamp(-limit, limit)


def scaled(x: Tensor, factor: float) -> Tensor:
    """Values of x times a factor, which is rounded to float32."""
    return x * torch.tensor(factor)


_FORMATS = {torch.float32: (24, -126), torch.float16: (11, -14)}
"""Digits of a value, and the exponent of the smallest normal one."""


def _rounded(exact: NDArray[np.float64], draws: NDArray[np.float32], digits: int, least: int) -> NDArray[np.float64]:
    """Returns the value below in magnitude or, where the draw is less than the part of the way, the one above it."""
    _, exponents = np.frexp(np.abs(exact))
    spacing = np.ldexp(1.0, np.maximum(exponents - 1, least) - (digits - 1))
    steps = np.abs(exact) / spacing
    whole = np.floor(steps)
    moved: NDArray[np.float64] = np.copysign((whole + (draws < steps - whole)) * spacing, exact)
    return moved


def _embed_shape(tokens: Tensor, table: Tensor, *noise: object) -> Tensor:
    del noise
    return table.new_empty((1, tokens.numel(), table.shape[1]), dtype=torch.float32)


def _linear_shape(x: Tensor, weight: Tensor, *noise: object) -> Tensor:
    del noise
    return x.new_empty(x.shape[0], weight.shape[0])


def _layer_shape(x: Tensor, *others: Any) -> Tensor:
    return layer_shape(x, others[0], others[1], others[6], others[7])


register("embed_perturbed", f"Tensor tokens, Tensor table, {_NOISE}", ONE, embed_perturbed, _embed_shape)
register("linear_perturbed", f"Tensor x, Tensor weight, {_NOISE}", ONE, linear_perturbed, _linear_shape)
register(
    "perturbed_layer",
    GENERAL_LAYER.replace("Tensor scratch, ", f"Tensor scratch, {_LAYER_NOISE}, "),
    ONE,
    perturbed_layer,
    _layer_shape,
)
register("move_weight", "Tensor weight, Tensor gradient, Tensor key, Tensor lr, int slot", ONE, move_weight, like_first)
register("clipped", "Tensor x, float limit", ONE, clipped, like_first)
register("scaled", "Tensor x, float factor", ONE, scaled, like_first)
