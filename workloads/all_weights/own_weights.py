"""What the methods have in common that train what a model itself is stored as, without adapters.

It is the program's state: it starts from the constants of the data file, is in memory once, and is written by the
update alone, at the end of a step. A tensor's noise is that of its slot (docs/contracts.md, "Noise of weights").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from workloads.all_weights import operators  # registers the operators  # noqa: F401
from workloads.methods.ends import KernelEnds, answers_of
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import MINUS, PLUS
from workloads.models.config import VECTORS, LlamaConfig
from workloads.models.llama import Rotary

TABLE, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


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
            # Data files hold equal bytes once, such as norms that are all ones; each tensor goes its own way.
            own[name] = start.clone() if start.data_ptr() in taken else start
            taken.add(start.data_ptr())
        super().__init__(own)
        self.slots, self.starts = slots, starts


class OwnWeightsStep(nn.Module, ABC):
    """A training step over what a model itself is stored as: one query, + and then -, and the update at the end.

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
        """What the step trains."""
        return cast(Trained, self.get_submodule(self.state))

    @property
    def starts(self) -> dict[str, Tensor]:
        """The constants that buffers start from, by the names of the buffers."""
        return {f"{self.state}.{name}": value for name, value in self.trained.starts.items()}

    def _register_tables(self, rotary: Rotary) -> list[str]:
        """Registers a layer's rotary tables, those of equal layers once, and returns their names."""
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
        """Takes lr * gradient * z from what is trained."""
        for name, slot in self.trained.slots.items():
            value = self.trained.get_buffer(name)
            value.copy_(torch.ops.prge.move_weight(value, gradient, key, lr, slot))

    def gradient(self, losses: Tensor, eps: Tensor) -> Tensor:
        """losses float32 [2, 1] -> the projected gradient [1]: 0 if eps is, that step evaluates."""
        slope: Tensor = self.ends.gradient(losses, eps)
        return slope

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the losses of a forward pass with what is trained + sign * eps * z, float32 [1, b]."""
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
        """Returns how many rows a layer makes of a forward pass's."""
        return self.shape.batch * self.get_buffer(self.tables[index][0]).shape[0]

    @abstractmethod
    def _embed(self, tokens: Tensor, first: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the rows of tokens [b, T] -> float32 [1, b * T, hidden]."""

    @abstractmethod
    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns what a decoder layer makes of x float32 [1, b * T, hidden]."""

    @abstractmethod
    def _logits(self, x: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns what the last norm and the head make of rows float32 [n, hidden] -> [n, vocabulary]."""

    @property
    def head(self) -> str:
        """The name of the head's tensor: a tied one is the embedding's."""
        return TABLE if self.config.tie_embeddings else HEAD

    def _shape_of_layer(self, vectors: Sequence[Tensor]) -> tuple[object, ...]:
        """Returns the last arguments of a layer's operator."""
        config = self.config
        places = [VECTORS.index(name) for name in config.vector_sizes()]
        gelu = config.form.gate == "gelu_tanh"
        return config.heads, config.kv_heads, config.norm_eps, vectors, places, gelu

    def _perturbed_vector(self, name: str, key: Tensor, eps: Tensor, after: Tensor, sign: int) -> Tensor:
        """Returns what is trained under this name, float32 [n], perturbed."""
        value, slot = self.trained.get_buffer(name), self.trained.slots[name]
        # The operator that perturbs adapters, as one of rank 1; a slot stands for the query.
        (moved,) = torch.ops.prge.perturb(value, key, eps, after, 0, 1, [value.numel()], slot, 1, sign, torch.float32)
        result: Tensor = moved.view(-1)
        return result
