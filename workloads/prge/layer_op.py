"""A whole decoder layer with NF4 weights as one operator of our own: schema, shape, eager reference.

The runner's kernel (devices/runner/kernels/decoder_layer.h) works on blocks of features, so that a layer needs little
memory beside its hidden states; docs/contracts.md has the semantics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.models.config import PROJECTIONS
from workloads.prge.ops import ONE, register
from workloads.quantize.nf4 import dequantize

_DECODER_LAYER = (
    "Tensor x, Tensor bias, Tensor scratch, Tensor[] norms, Tensor[] rotary, Tensor[] packed, Tensor[] absmax, "
    "Tensor[] lora_a, Tensor[] lora_b, int[] adapted, int heads, int kv_heads, float epsilon"
)


def decoder_layer_nf4(
    x: Tensor,
    bias: Tensor,
    scratch: Tensor,
    norms: Sequence[Tensor],
    rotary: Sequence[Tensor],
    packed: Sequence[Tensor],
    absmax: Sequence[Tensor],
    lora_a: Sequence[Tensor],
    lora_b: Sequence[Tensor],
    adapted: Sequence[int],
    heads: int,
    kv_heads: int,
    epsilon: float,
) -> Tensor:
    """x float32 [slices, rows, hidden], bias [sequences, 1, 1, T, T] -> the layer's result, like x.

    norms: of attention and feed-forward. rotary: cosines and sines [T, 1, head_dim] of queries and of keys, sign and
    scale folded in. packed, absmax: of the seven projections. lora_a [rank, in] and lora_b [slices, rank, out] belong
    to the projections whose places `adapted` has. `scratch` is memory to work in, its values mean nothing.
    """
    del scratch
    adapters = {place: (a, b) for place, a, b in zip(adapted, lora_a, lora_b, strict=True)}

    def project(name: str, value: Tensor) -> Tensor:
        place = PROJECTIONS.index(name)
        result = value @ dequantize(packed[place], absmax[place]).T
        if place in adapters:
            a, b = adapters[place]
            result = result + value @ a.T @ b
        return result

    def norm(value: Tensor, weight: Tensor) -> Tensor:
        return value * torch.rsqrt(value.square().mean(-1, keepdim=True) + epsilon) * weight

    normal = norm(x, norms[0])
    query_cos, query_sin, key_cos, key_sin = rotary
    length, head_dim = key_cos.shape[0], key_cos.shape[-1]
    q = _rotated(project("q_proj", normal).reshape(-1, length, heads, head_dim), query_cos, query_sin)
    k = _rotated(project("k_proj", normal).reshape(-1, length, kv_heads, head_dim), key_cos, key_sin)
    v = project("v_proj", normal).reshape(-1, length, kv_heads, head_dim)
    k, v = (each.repeat_interleave(heads // kv_heads, dim=2) for each in (k, v))
    scores = torch.einsum("sqhd,skhd->shqk", q, k) + bias.reshape(-1, 1, length, length)
    mixed = torch.einsum("shqk,skhd->sqhd", scores.softmax(dim=-1), v).reshape(*x.shape[:2], heads * head_dim)
    x = x + project("o_proj", mixed)
    normal = norm(x, norms[1])
    gated = torch.nn.functional.silu(project("gate_proj", normal)) * project("up_proj", normal)
    return x + project("down_proj", gated)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


def _decoder_layer_shape(x: Tensor, *others: object) -> Tensor:
    del others
    return torch.empty_like(x)


register("decoder_layer_nf4", _DECODER_LAYER, ONE, decoder_layer_nf4, _decoder_layer_shape)
