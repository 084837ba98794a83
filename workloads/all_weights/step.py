"""MeZO's step on all weights (Malladi et al., arXiv 2305.17333): one query, + and then -, no adapter.

    g = (L(W + eps z) - L(W - eps z)) / (2 eps),    W = W - lr g z,    z standard normal, one for each weight

The operators that multiply a weight draw its noise as they go. Norms and biases, a few vectors of a layer, are
perturbed just before their layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.all_weights.own_weights import HEAD, LAYER_NORMS, NORM, TABLE, OwnWeightsStep
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import scratch_values
from workloads.workload import Workload


class MezoFullStep(OwnWeightsStep):
    """A training step on all weights. State: these weights, as `weights.NAME`."""

    def __init__(self, parts: Parts, shape: Shape) -> None:
        super().__init__(parts, shape, named_weights(parts))

    def _embed(self, tokens: Tensor, first: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        del first
        rows: Tensor = torch.ops.prge.embed_perturbed(
            tokens, self._weight(TABLE), key, eps, self.trained.slots[TABLE], sign
        )
        return rows

    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        prefix, config = f"model.layers.{index}", self.config
        matrices = [f"{prefix}.{name}.weight" for name in config.linear_shapes()]
        norms = [self._perturbed_vector(f"{prefix}.{name}.weight", key, eps, x, sign) for name in LAYER_NORMS]
        vectors = [self._perturbed_vector(f"{prefix}.{name}", key, eps, x, sign) for name in config.vector_sizes()]
        result: Tensor = torch.ops.prge.perturbed_layer(
            x,
            bias,
            torch.empty(scratch_values(config, x.shape[1], 0, self.results_of(index))),
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

    def _logits(self, x: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        norm, head = self._perturbed_vector(NORM, key, eps, x, sign), self.head
        normal = torch.ops.prge.rms_norm(x, norm, self.config.norm_eps)
        logits: Tensor = torch.ops.prge.linear_perturbed(
            normal, self._weight(head), key, eps, self.trained.slots[head], sign
        )
        return logits

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
    """Returns the step over the weights of `parts`, which it changes in place when called eagerly."""
    return MezoFullStep(parts, Shape.of(workload))
