"""The common part of methods that train a model's own stored values, without adapters, and our own operators for them:
schemas, shapes for export, and eager reference kernels.

These values are the program's state: it starts from the constants of the data file, is in memory once, and is written
only by the update, at the end of a step. Each matrix or vector has a number, its slot, which replaces the query in its
noise; positions count through it row by row (docs/contracts.md, "Noise of weights").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workloads.methods.ends import KernelEnds, answers_of
from workloads.methods.noise import ROUNDING_STREAM, normal, uniform
from workloads.methods.operators import GENERAL_LAYER, ONE, decoder_layer, layer_shape, like_first, register
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import MINUS, PLUS
from workloads.models.config import VECTORS, LlamaConfig
from workloads.models.llama import Rotary

TABLE, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")

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
    """prge::general_layer with each of the seven weights perturbed; norms and vectors are already perturbed."""
    moved = [perturbed(weight, key, eps, slot, sign) for weight, slot in zip(weights, slots, strict=True)]
    return decoder_layer(x, bias, scratch, norms, rotary, moved, *rest)


def move_weight(weight: Tensor, gradient: Tensor, key: Tensor, lr: Tensor, slot: int) -> Tensor:
    """Weight - lr * gradient * noise, rounded at random to one of its two neighbours -> like the weight.

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
    """Values of x, limited in magnitude to `limit`."""
    return x.clamp(-limit, limit)


def scaled(x: Tensor, factor: float) -> Tensor:
    """Values of x times a factor, which is rounded to float32."""
    return x * torch.tensor(factor)


_FORMATS = {torch.float32: (24, -126), torch.float16: (11, -14)}
"""Digits of a type's values, and the exponent of its smallest normal value."""


def _rounded(exact: NDArray[np.float64], draws: NDArray[np.float32], digits: int, least: int) -> NDArray[np.float64]:
    """Returns the neighbour below in magnitude or, where the draw is less than the fraction, the one above."""
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


class NamedTensors(nn.Module):
    """Tensors as buffers under their canonical names, such as `model.norm.weight`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in tensors.items():
            *path, last = name.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_buffer(last, value)


class Trained(NamedTensors):
    """Trained tensors; each has a number, its slot, by the order of LlamaConfig.tensor_shapes."""

    def __init__(self, config: LlamaConfig, tensors: Mapping[str, Tensor]) -> None:
        slots = {name: slot for slot, name in enumerate(config.tensor_shapes()) if name in tensors}
        starts = {name: tensors[name].detach() for name in slots}
        taken: set[int] = set()
        own: dict[str, Tensor] = {}
        for name, start in starts.items():
            # Data files store equal bytes once, such as norms that are all ones, but each tensor is trained separately.
            own[name] = start.clone() if start.data_ptr() in taken else start
            taken.add(start.data_ptr())
        super().__init__(own)
        self.slots, self.starts = slots, starts


class OwnWeightsStep(nn.Module, ABC):
    """A training step on a model's own stored values: one query, + and then -, and the update at the end.

    State: what it trains, as `<state>.NAME`.
    """

    state = "weights"

    def __init__(self, parts: Parts, shape: Shape, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config, self.shape = parts.config, shape
        self.add_module(self.state, Trained(parts.config, tensors))
        self.ends = KernelEnds(alone=False)
        self.tables = [self._register_tables(rotary) for rotary in parts.rotary]

    @property
    def trained(self) -> Trained:
        """The tensors that the step trains."""
        return cast(Trained, self.get_submodule(self.state))

    @property
    def starts(self) -> dict[str, Tensor]:
        """The constants from which buffers start, by the names of the buffers."""
        return {f"{self.state}.{name}": value for name, value in self.trained.starts.items()}

    def _register_tables(self, rotary: Rotary) -> list[str]:
        """Registers a layer's rotary tables (once for equal layers) and returns their names."""
        named = dict(self.named_buffers())
        known = {id(value): name for name, value in named.items()}
        names = []
        for kind, table in vars(rotary).items():
            name = known.get(id(table), f"rotary_{len(named)}_{kind}")
            if name not in named:
                self.register_buffer(name, table, persistent=False)
            names.append(name)
        return names

    def forward(
        self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Runs the step of docs/contracts.md -> (losses float32 [2, 1], row_losses float32 [2, 1, b])."""
        signs = (PLUS, MINUS)
        parts = [self._row_losses(tokens, first, labels, key, eps, sign) for sign in signs]
        row_losses = self.ends.collect_losses(parts, signs)
        losses = self.ends.mean_losses(row_losses, labels)
        self.move(self.gradient(losses, eps), key, lr)
        return losses, row_losses

    def move(self, gradient: Tensor, key: Tensor, lr: Tensor) -> None:
        """Subtracts lr * gradient * z from the trained tensors."""
        for name, slot in self.trained.slots.items():
            value = self.trained.get_buffer(name)
            value.copy_(torch.ops.prge.move_weight(value, gradient, key, lr, slot))

    def gradient(self, losses: Tensor, eps: Tensor) -> Tensor:
        """losses float32 [2, 1] -> the projected gradient [1]; 0 if eps is 0, as such a step only evaluates."""
        slope: Tensor = self.ends.gradient(losses, eps)
        return slope

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the losses of a forward pass with sign * eps * z added to the trained tensors, float32 [1, b]."""
        losses: Tensor = self.ends.answer_losses(self.answer_logits(tokens, first, key, eps, sign), labels)
        return losses

    def answer_logits(self, tokens: Tensor, first: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the logits of such a pass, float32 [b * K, vocabulary]."""
        x = self._embed(tokens, first, key, eps, sign)
        bias = self.ends.attention_bias(first, self.shape.length, 1)
        for index in range(self.config.layers):
            x = self._layer(index, x, bias, key, eps, sign)
        return self._logits(answers_of(self.ends, x, self.shape), key, eps, sign)

    def results_of(self, index: int) -> int:
        """Returns how many rows of results a layer computes in a forward pass."""
        return self.shape.batch * self.get_buffer(self.tables[index][0]).shape[0]

    @abstractmethod
    def _embed(self, tokens: Tensor, first: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the rows of tokens [b, T] -> float32 [1, b * T, hidden]."""

    @abstractmethod
    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns a decoder layer's result for x float32 [1, b * T, hidden]."""

    @abstractmethod
    def _logits(self, x: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Applies the last norm and the head to rows float32 [n, hidden] -> [n, vocabulary]."""

    @property
    def head(self) -> str:
        """The name of the head's tensor; a tied head has the embedding's."""
        return TABLE if self.config.tie_embeddings else HEAD

    def _shape_of_layer(self, vectors: Sequence[Tensor]) -> tuple[object, ...]:
        """Returns the last arguments of a layer's operator."""
        config = self.config
        places = [VECTORS.index(name) for name in config.vector_sizes()]
        gelu = config.form.gate == "gelu_tanh"
        return config.heads, config.kv_heads, config.norm_eps, vectors, places, gelu

    def _perturbed_vector(self, name: str, key: Tensor, eps: Tensor, after: Tensor, sign: int) -> Tensor:
        """Returns the trained vector of this name, float32 [n], perturbed."""
        value, slot = self.trained.get_buffer(name), self.trained.slots[name]
        # The operator that perturbs adapters, with rank 1; the slot replaces the query.
        (moved,) = torch.ops.prge.perturb(value, key, eps, after, 0, 1, [value.numel()], slot, 1, sign, torch.float32)
        result: Tensor = moved.view(-1)
        return result
