"""The backward pass of a decoder layer: its vector-Jacobian product, by its input and by each B.

Written out rather than derived by autograd, so that all of it lowers to one delegate, as the layer does: sums over a
row are products with a constant row, and products with untransposed weights are our own operator. The layer's forward
pass is computed again from its input (gradient checkpointing; Chen et al., arXiv 1604.06174). Gradients are float32; a
product with a float16 weight has float16 operands, as in the forward pass, and the products that compute gradients of B
are float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.methods.adapter import AdaptedLinear
from workloads.methods.blocks import LayerBlock
from workloads.models.config import PROJECTIONS
from workloads.models.conversion import times_untransposed
from workloads.models.llama import (
    GeluGate,
    Heads,
    RMSNorm,
    Rotary,
    applied,
    attention_weights,
    join_queries,
    operand,
    project,
    split_heads,
    widened,
)


class LayerBackward(nn.Module):
    """The vector-Jacobian product of a LayerBlock with one slice."""

    ones: Tensor

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if not isinstance(block, LayerBlock):
            raise TypeError(f"{type(block).__name__} has no backward pass")
        self.block = block
        self.register_buffer("ones", torch.ones(1, block.key_cos.shape[0]), persistent=False)

    def forward(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> tuple[Tensor, ...]:
        """x and gradient float32 [1, b * T, hidden], bias [b, 1, 1, T, T], adapters [1, rank, out].

        Returns the gradient by x, and float32 [1, rank, out] by each of the adapters.
        """
        layer = self.block.layer
        attention, feed_forward, products = layer.self_attn, layer.mlp, layer.self_attn.products
        of_projection = _Projections(dict(zip(self.block.projections, adapters, strict=True)), products)
        given = of_projection.adapters

        normal = operand(layer.input_layernorm(x), products)
        q, k, v = attention.parts(normal, self._rotary(), given)
        heads = split_heads(attention, q, k, v, self._rotary())
        weights = attention_weights(heads, bias)
        mixed = join_queries(attention.config, operand(weights, products).bmm(heads.value_rows()), 1, bias.shape[-1])
        attended = project(attention, "o_proj", mixed, given)
        middle = x + applied(attention, "result_norm", attended)
        wide = operand(layer.post_attention_layernorm(middle), products)
        gate, up = (project(feed_forward, name, wide, given) for name in PROJECTIONS[4:6])
        gated = operand(feed_forward.gated(gate, up), products)

        back = self._result_back(feed_forward, gated, given, gradient)
        back = of_projection.back(feed_forward, "down_proj", gated, back)
        of_gate, of_up = _gate_back(feed_forward, gate, up, back)
        back = of_projection.back(feed_forward, "gate_proj", wide, of_gate)
        back = back + of_projection.back(feed_forward, "up_proj", wide, of_up)
        gradient = gradient + _norm_back(layer.post_attention_layernorm, middle, back)
        back = _own_norm_back(attention, "result_norm", attended, gradient)
        back = of_projection.back(attention, "o_proj", mixed, back)
        of_q, of_k, of_v = self._attend_back((q, k), heads, weights, back)
        back = of_projection.back(attention, "q_proj", normal, of_q)
        back = back + of_projection.back(attention, "k_proj", normal, of_k)
        back = back + of_projection.back(attention, "v_proj", normal, of_v)
        gradient = gradient + _norm_back(layer.input_layernorm, x, back)
        return (gradient, *(of_projection.gradients[name] for name in self.block.projections))

    def _rotary(self) -> Rotary:
        block = self.block
        return Rotary(block.query_cos, block.query_sin, block.key_cos, block.key_sin)

    @staticmethod
    def _result_back(
        feed_forward: nn.Module, gated: Tensor, adapters: Mapping[str, Tensor], gradient: Tensor
    ) -> Tensor:
        """Returns the gradient by down_proj's result, which is recomputed only if it has a norm."""
        if "result_norm" not in feed_forward._modules:
            return gradient
        return _own_norm_back(
            feed_forward, "result_norm", project(feed_forward, "down_proj", gated, adapters), gradient
        )

    def _attend_back(
        self, raw: tuple[Tensor, Tensor], heads: Heads, weights: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the gradients by the projections' results: queries, keys and values; the first two are `raw`."""
        attention, rotary = self.block.layer.self_attn, self._rotary()
        config, products, length = attention.config, attention.products, rotary.key_cos.shape[0]
        by_head = gradient.reshape(-1, length, config.heads, config.head_dim).transpose(1, 2)
        of_mixed = operand(by_head.reshape(heads.queries.shape), products)
        of_values = widened(operand(weights, products).transpose(1, 2).bmm(of_mixed))
        of_weights = widened(of_mixed.bmm(heads.value_rows().transpose(1, 2)))
        # The softmax's: each weight times the difference of its gradient from the row's weighted mean.
        of_scores = weights * (of_weights - functional.linear(of_weights * weights, self.ones))
        of_scores = operand(of_scores, products)
        of_queries = widened(of_scores.bmm(heads.keys.transpose(1, 2)))
        of_keys = widened(of_scores.transpose(1, 2).bmm(heads.queries))
        queries = join_queries(config, of_queries, 1, length).reshape(-1, length, config.heads, config.head_dim)
        keys, values = (
            found.reshape(-1, config.kv_heads, length, config.head_dim).transpose(1, 2)
            for found in (of_keys, of_values)
        )
        queries = _rotate_back(queries, rotary.query_cos, rotary.query_sin)
        keys = _rotate_back(keys, rotary.key_cos, rotary.key_sin)
        queries = _own_norm_back(attention, "q_norm", raw[0], queries)
        keys = _own_norm_back(attention, "k_norm", raw[1], keys)
        rows = gradient.shape[1]
        return queries.reshape(1, rows, -1), keys.reshape(1, rows, -1), values.reshape(1, rows, -1)


class _Projections:
    """Computes the backward pass of one projection after the other, and keeps the gradients by their B, by name."""

    def __init__(self, adapters: Mapping[str, Tensor], products: torch.dtype) -> None:
        self.adapters, self._products = adapters, products
        self.gradients: dict[str, Tensor] = {}

    def back(self, owner: nn.Module, name: str, x: Tensor, gradient: Tensor) -> Tensor:
        """x, the projection's operand [1, rows, in], and gradient float32 [1, rows, out] -> by x, [1, rows, in]."""
        module = owner.get_submodule(name)
        narrow = operand(gradient, self._products)
        if name not in self.adapters:
            return widened(times_untransposed(narrow, cast(nn.Linear, module).weight))
        adapted = cast(AdaptedLinear, module)
        lora_a = adapted.low_rank.lora_a
        inner = widened(functional.linear(x, lora_a))
        self.gradients[name] = inner.transpose(1, 2).bmm(gradient)
        of_inner = operand(widened(narrow.bmm(self.adapters[name].transpose(1, 2))), self._products)
        base = widened(times_untransposed(narrow, cast(nn.Linear, adapted.base).weight))
        return base + widened(times_untransposed(of_inner, lora_a))


def _norm_back(norm: RMSNorm, x: Tensor, gradient: Tensor) -> Tensor:
    """With r = 1 / sqrt(mean(x^2) + eps) and h = gradient * weight: r h - r^3 x mean(h x)."""
    factor = torch.rsqrt(functional.linear(x * x, norm.mean_row) + norm.eps)
    weighted = gradient * norm.weight
    return factor * weighted - x * (factor * factor * factor * functional.linear(weighted * x, norm.mean_row))


def _own_norm_back(owner: nn.Module, name: str, x: Tensor, gradient: Tensor) -> Tensor:
    """Does the same for the norm `name` of `owner`, if its family has it."""
    norm = owner._modules.get(name)
    return gradient if norm is None else _norm_back(cast(RMSNorm, norm), x.reshape(gradient.shape), gradient)


def _gate_back(feed_forward: nn.Module, gate: Tensor, up: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients by gate and up."""
    opened = torch.sigmoid(applied(feed_forward, "slope", gate))
    silu = gate * opened
    slope = feed_forward._modules.get("slope")
    if slope is None:
        return gradient * up * (opened + silu - silu * opened), gradient * silu
    inner = (silu - silu * opened) * cast(GeluGate, slope).derivative(gate)
    return gradient * up * (opened + inner), gradient * silu


def _rotate_back(gradient: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies the transpose of a rotation: the half turn, which is its own inverse, comes after the sines."""
    half = gradient.shape[-1] // 2
    turned = gradient * sin
    return gradient * cos + torch.cat([turned[..., half:], turned[..., :half]], dim=-1)
