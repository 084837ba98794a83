"""MeZO's step on all weights (Malladi et al., arXiv 2305.17333): one query, + and then -, no adapter.

    g = (L(W + eps z) - L(W - eps z)) / (2 eps),    W = W - lr g z,    z standard normal, one for each weight

Whatever multiplies a weight draws its noise on the way. Norms and biases, a few vectors of a layer, are perturbed when
their layer comes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.all_weights.own_weights import HEAD, LAYER_NORMS, NORM, TABLE, OwnWeightsStep
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import scratch_values
from workloads.workload import Workload


class MezoFullStep(OwnWeightsStep):
    """A training step over weights that it trains. State: all of them, as `weights.NAME`."""

    def __init__(self, parts: Parts, shape: Shape) -> None:
        super().__init__(parts, shape, named_weights(parts))

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        """Returns the losses of a forward pass with W + sign * eps * z, float32 [1, b]."""
        ops, shape, slots = torch.ops.prge, self.shape, self.trained.slots
        x = ops.embed_perturbed(tokens, self._weight(TABLE), key, eps, slots[TABLE], sign)
        bias = self.ends.attention_bias(first, shape.length, 1)
        for index in range(self.config.layers):
            x = self._layer(index, x, bias, key, eps, sign)
        x = self.ends.answer_rows(x, shape.length, shape.answers)
        normal = ops.rms_norm(x, self._perturbed_vector(NORM, key, eps, x, sign), self.config.norm_eps)
        head = TABLE if self.config.tie_embeddings else HEAD
        logits = ops.linear_perturbed(normal, self._weight(head), key, eps, slots[head], sign)
        losses: Tensor = self.ends.answer_losses(logits, labels)
        return losses

    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        prefix, config = f"model.layers.{index}", self.config
        matrices = [f"{prefix}.{name}.weight" for name in config.linear_shapes()]
        norms = [self._perturbed_vector(f"{prefix}.{name}.weight", key, eps, x, sign) for name in LAYER_NORMS]
        vectors = [self._perturbed_vector(f"{prefix}.{name}", key, eps, x, sign) for name in config.vector_sizes()]
        result: Tensor = torch.ops.prge.perturbed_layer(
            x,
            bias,
            torch.empty(scratch_values(config, x.shape[1], 0)),
            key,
            eps,
            [self.trained.slots[name] for name in matrices],
            sign,
            norms,
            [self.get_buffer(name) for name in self.tables[index]],
            [self._weight(name) for name in matrices],
            *([], [], [], []),  # scales, and adapters
            *self._shape_of_layer(vectors),
        )
        return result

    def _weight(self, name: str) -> Tensor:
        return self.trained.get_buffer(name)


def named_weights(parts: Parts) -> dict[str, Tensor]:
    """Returns the tensors of a model's parts by their canonical names; a tied head has none of its own."""
    ends = {TABLE: parts.embedding.get_parameter("weight"), NORM: parts.head.get_parameter("norm.weight")}
    if not parts.config.tie_embeddings:
        ends[HEAD] = parts.head.get_parameter("lm_head.weight")
    layers = {
        f"model.layers.{index}.{name.replace('_proj_bias', '_proj.bias')}": value
        for index, block in enumerate(parts.blocks)
        for name, value in block.get_submodule("layer").state_dict().items()
    }
    return ends | layers


def make_program(workload: Workload, parts: Parts) -> MezoFullStep:
    """Returns the step over the weights of `parts`, which it changes where it is called eagerly."""
    return MezoFullStep(parts, Shape.of(workload))
