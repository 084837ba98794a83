"""MeZO's step on all weights (Malladi et al., arXiv 2305.17333): one query, + and then -, no adapter.

    g = (L(W + eps z) - L(W - eps z)) / (2 eps),    W = W - lr g z,    z standard normal, one for each weight

The weights are the program's state: they start from the constants of the data file, are in memory once, and are written
by the update alone, at the end of a step. Whatever multiplies one draws its noise on the way. Norms and biases, a few
vectors of a layer, are perturbed when their layer comes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workloads.all_weights import operators  # registers the operators  # noqa: F401
from workloads.methods.ends import KernelEnds
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import MINUS, PLUS, scratch_values
from workloads.models.config import VECTORS, LlamaConfig
from workloads.models.llama import Rotary
from workloads.workload import Workload

_TABLE, _NORM, _HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
_LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


class Weights(nn.Module):
    """Trained weights as buffers, under their canonical names (LlamaConfig.tensor_shapes), whose order numbers them."""

    def __init__(self, config: LlamaConfig, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.slots = {name: slot for slot, name in enumerate(config.tensor_shapes())}
        self.starts: dict[str, Tensor] = {}
        taken: set[int] = set()
        for name in self.slots:
            start = tensors[name].detach()
            # Data files hold equal bytes once, such as norms that are all ones; each weight goes its own way.
            value = start.clone() if start.data_ptr() in taken else start
            taken.add(start.data_ptr())
            self.starts[name] = start
            self._place(name, value)

    def _place(self, name: str, value: Tensor) -> None:
        *path, last = name.split(".")
        owner: nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_buffer(last, value)


class MezoFullStep(nn.Module):
    """A training step over weights that it trains. State: all of them, as `weights.NAME`."""

    def __init__(self, parts: Parts, shape: Shape) -> None:
        super().__init__()
        self.config, self.shape = parts.config, shape
        self.weights = Weights(parts.config, named_weights(parts))
        self.ends = KernelEnds(alone=False)
        self.tables = [self._register_tables(rotary) for rotary in parts.rotary]

    @property
    def starts(self) -> dict[str, Tensor]:
        """The constants that buffers start from, by the names of the buffers."""
        return {f"weights.{name}": value for name, value in self.weights.starts.items()}

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
        gradient = self.ends.gradient(losses, eps)  # 0 if eps is: that step evaluates
        for name, slot in self.weights.slots.items():
            weight = self._weight(name)
            weight.copy_(torch.ops.prge.move_weight(weight, gradient, key, lr, slot))
        return losses, row_losses

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the losses of a forward pass with W + sign * eps * z, float32 [1, b]."""
        ops, shape, slots = torch.ops.prge, self.shape, self.weights.slots
        x = ops.embed_perturbed(tokens, self._weight(_TABLE), key, eps, slots[_TABLE], sign)
        bias = self.ends.attention_bias(first, shape.length, 1)
        for index in range(self.config.layers):
            x = self._layer(index, x, bias, key, eps, sign)
        x = self.ends.answer_rows(x, shape.length, shape.answers)
        normal = ops.rms_norm(x, self._vector(_NORM, key, eps, x, sign), self.config.norm_eps)
        head = _TABLE if self.config.tie_embeddings else _HEAD
        logits = ops.linear_perturbed(normal, self._weight(head), key, eps, slots[head], sign)
        losses: Tensor = self.ends.answer_losses(logits, labels)
        return losses

    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        prefix, config = f"model.layers.{index}", self.config
        matrices = [f"{prefix}.{name}.weight" for name in config.linear_shapes()]
        norms = [self._vector(f"{prefix}.{name}.weight", key, eps, x, sign) for name in _LAYER_NORMS]
        vectors = [self._vector(f"{prefix}.{name}", key, eps, x, sign) for name in config.vector_sizes()]
        result: Tensor = torch.ops.prge.perturbed_layer(
            x,
            bias,
            torch.empty(scratch_values(config, x.shape[1], 0)),
            key,
            eps,
            [self.weights.slots[name] for name in matrices],
            sign,
            norms,
            [self.get_buffer(name) for name in self.tables[index]],
            [self._weight(name) for name in matrices],
            *([], [], [], []),  # scales, and adapters
            config.heads,
            config.kv_heads,
            config.norm_eps,
            vectors,
            [VECTORS.index(name) for name in config.vector_sizes()],
            config.form.gate == "gelu_tanh",
        )
        return result

    def _weight(self, name: str) -> Tensor:
        return self.weights.get_buffer(name)

    def _vector(self, name: str, key: Tensor, eps: Tensor, after: Tensor, sign: int) -> Tensor:
        """Returns a perturbed norm or bias, float32 [n]."""
        value, slot = self._weight(name), self.weights.slots[name]
        # The operator that perturbs adapters, as one of rank 1; a slot stands for the query.
        (moved,) = torch.ops.prge.perturb(value, key, eps, after, 0, 1, [value.numel()], slot, 1, sign, torch.float32)
        result: Tensor = moved.view(-1)
        return result


def named_weights(parts: Parts) -> dict[str, Tensor]:
    """Returns the tensors of a model's parts by their canonical names; a tied head has none of its own."""
    ends = {_TABLE: parts.embedding.get_parameter("weight"), _NORM: parts.head.get_parameter("norm.weight")}
    if not parts.config.tie_embeddings:
        ends[_HEAD] = parts.head.get_parameter("lm_head.weight")
    layers = {
        f"model.layers.{index}.{name.replace('_proj_bias', '_proj.bias')}": value
        for index, block in enumerate(parts.blocks)
        for name, value in block.get_submodule("layer").state_dict().items()
    }
    return ends | layers


def make_program(workload: Workload, parts: Parts) -> MezoFullStep:
    """Returns the step over the weights of `parts`, which it changes where it is called eagerly."""
    return MezoFullStep(parts, Shape.of(workload))
