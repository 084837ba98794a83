"""Our own operators for training by backpropagation: schemas, shapes for export, and eager reference kernels.

They are the operators around the layers in the backward pass, and the optimizers. Gradients are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workloads.methods.operators import DECODER_LAYER, GENERAL_LAYER, ONE, SEVERAL, decoder_layer, like_first, register
from workloads.quantize.frozen import columns, dequantize


def loss_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """The derivative of the mean cross-entropy over all labels by logits float32 [b * K, vocabulary] -> the same shape.

    labels int64 [b, K], -1 for "no label".
    """
    label = labels.reshape(-1, 1)
    real = (label >= 0).to(torch.float32)
    wanted = torch.zeros_like(logits).scatter(-1, label.clamp(min=0), 1.0)
    return (logits.softmax(dim=-1) - wanted) * real / real.sum()


def linear_frozen_back(gradient: Tensor, weight: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """gradient [..., out] times the frozen weight [out, in] -> [..., in], all values and sums float32."""
    return gradient @ dequantize(weight, scales)


def rms_norm_back(gradient: Tensor, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The derivative by x of prge::rms_norm(x), times `gradient`, both [rows, hidden].

    With r = 1 / sqrt(mean(x^2) + epsilon) and h = gradient * weight: r h - r^3 x mean(h x).
    """
    factor = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
    weighted = gradient * weight
    return factor * weighted - factor**3 * x * (weighted * x).mean(-1, keepdim=True)


def spread_rows(x: Tensor, length: int, answers: int) -> Tensor:
    """The reverse of prge::answer_rows: [b * K, hidden] -> [1, b * T, hidden], zero in all other rows."""
    spread = x.new_zeros(x.shape[0] // answers, length, x.shape[-1])
    spread[:, -answers:] = x.reshape(-1, answers, x.shape[-1])
    return spread.reshape(1, -1, x.shape[-1])


def descend(adapter: Tensor, gradients: Sequence[Tensor], lr: Tensor, offset: int) -> Tensor:
    """The adapter with lr times the gradients, one after the other, subtracted from `offset` on."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    moved = adapter.clone()
    moved[offset : offset + flat.numel()] -= lr * flat
    return moved


def moving_mean(mean: Tensor, gradients: Sequence[Tensor], offset: int, beta: float, squared: bool) -> Tensor:
    """A moment of Adam, from `offset` on beta * mean + (1 - beta) * gradient, or its square."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    moved = mean.clone()
    here = slice(offset, offset + flat.numel())
    moved[here] = beta * mean[here] + (1.0 - beta) * (flat.square() if squared else flat)
    return moved


def adam(
    adapter: Tensor, first: Tensor, second: Tensor, key: Tensor, lr: Tensor, betas: Sequence[float], epsilon: float
) -> Tensor:
    """Adam's update with moments that include this step's gradient; `key` has the step's number, counted from 0.

    adapter - lr * first / (1 - beta1^t) / (sqrt(second / (1 - beta2^t)) + epsilon), t = step + 1 (Kingma & Ba, 2015).
    """
    steps = float(key[1]) + 1.0
    mean, square = (moment / (1.0 - beta**steps) for moment, beta in zip((first, second), betas, strict=True))
    updated: Tensor = adapter - lr * mean / (square.sqrt() + epsilon)
    return updated


def decoder_layer_back(
    x: Tensor,
    bias: Tensor,
    scratch: Tensor,
    gradient: Tensor,
    norms: Sequence[Tensor],
    rotary: Sequence[Tensor],
    weights: Sequence[Tensor],
    scales: Sequence[Tensor],
    lora_a: Sequence[Tensor],
    lora_b: Sequence[Tensor],
    *rest: Any,
) -> list[Tensor]:
    """The derivatives of prge::decoder_layer, with one slice, by x and by each lora_b, times `gradient`, like x.

    The arguments are those of decoder_layer, and the results float32 tensors like x and like each of lora_b.
    """
    inputs = [value.detach().to(torch.float32).requires_grad_() for value in (x, *lora_b)]
    with torch.enable_grad():
        result = decoder_layer(inputs[0], bias, scratch, norms, rotary, weights, scales, lora_a, inputs[1:], *rest)
        return list(torch.autograd.grad(result, inputs, gradient))


def _linear_back_shape(gradient: Tensor, weight: Tensor, scales: Sequence[Tensor]) -> Tensor:
    del scales
    return gradient.new_empty(*gradient.shape[:-1], columns(weight))


def _spread_shape(x: Tensor, length: int, answers: int) -> Tensor:
    return x.new_empty(1, x.shape[0] // answers * length, x.shape[-1])


def _layer_back_shape(*arguments: Any) -> list[Tensor]:
    x, lora_b = arguments[0], arguments[9]
    return [torch.empty_like(x), *(torch.empty_like(value, dtype=torch.float32) for value in lora_b)]


_MEAN = "Tensor mean, Tensor[] gradients, int offset, float beta, bool squared"
_ADAM = "Tensor adapter, Tensor first, Tensor second, Tensor key, Tensor lr, float[] betas, float epsilon"

register("loss_gradient", "Tensor logits, Tensor labels", ONE, loss_gradient, like_first)
register(
    "linear_frozen_back", "Tensor gradient, Tensor weight, Tensor[] scales", ONE, linear_frozen_back, _linear_back_shape
)
register("rms_norm_back", "Tensor gradient, Tensor x, Tensor weight, float epsilon", ONE, rms_norm_back, like_first)
register("spread_rows", "Tensor x, int length, int answers", ONE, spread_rows, _spread_shape)
register("descend", "Tensor adapter, Tensor[] gradients, Tensor lr, int offset", ONE, descend, like_first)
register("moving_mean", _MEAN, ONE, moving_mean, like_first)
register("adam", _ADAM, ONE, adam, like_first)
for _name, _arguments in (("decoder_layer_back", DECODER_LAYER), ("general_layer_back", GENERAL_LAYER)):
    _with_gradient = _arguments.replace("Tensor scratch, ", "Tensor scratch, Tensor gradient, ")
    register(_name, _with_gradient, SEVERAL, decoder_layer_back, _layer_back_shape)
