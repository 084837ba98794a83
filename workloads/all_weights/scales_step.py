"""QZO's step (Shang et al., arXiv 2505.13430): MeZO on the scales of quantized weights, whose codes don't change.

    g = [L((s + eps z) c) - L((s - eps z) c)] / (2 eps),    s = s - lr clip(g, -100, 100) z,    z standard normal

c are the codes as numbers up to 1 in magnitude, and s their largest magnitude: of a row (int8), or of a block of 64
(nf4). A form with larger codes stores s divided by the largest code; eps and the update are divided likewise, so that
eps, lr and the limit of g mean the same in every form. The limit is that of the authors' program.

Scales are few compared with weights: a layer's are perturbed, into memory of the step, just before the layer, and the
kernels that multiply it are the same as for the other methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from workloads.all_weights.own_weights import HEAD, LAYER_NORMS, NORM, TABLE, NamedTensors, OwnWeightsStep
from workloads.methods.blocks import FrozenLayerBlock
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import scratch_values
from workloads.quantize.frozen import Frozen
from workloads.workload import Workload

LIMIT = 100.0
"""The limit of a projected gradient's magnitude ("directional derivative clipping")."""


class QzoStep(OwnWeightsStep):
    """A training step over scales. State: those of all matrices, as `scales.NAME` with the name of the matrix."""

    state = "scales"

    def __init__(self, parts: Parts, shape: Shape, largest_code: int) -> None:
        stored = stored_tensors(parts)
        super().__init__(parts, shape, {name: scales[0] for name, (_, *scales) in stored.items() if scales})
        self.frozen = NamedTensors({name: values for name, (values, *_) in stored.items()})
        self._share = 1.0 / largest_code

    def gradient(self, losses: Tensor, eps: Tensor) -> Tensor:
        """losses float32 [2, 1] -> the projected gradient [1] within its limit, in terms of the stored scales."""
        return self._as_stored(torch.ops.prge.clipped(super().gradient(losses, eps), LIMIT))

    def _as_stored(self, value: Tensor) -> Tensor:
        if self._share == 1.0:
            return value
        result: Tensor = torch.ops.prge.scaled(value, self._share)
        return result

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        return super()._row_losses(tokens, first, labels, key, self._as_stored(eps), sign)

    def _embed(self, tokens: Tensor, first: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        scales, alone = self._perturbed_vector(TABLE, key, eps, first, sign), not self.config.tie_embeddings
        rows: Tensor = torch.ops.prge.embed(tokens, self.frozen.get_buffer(TABLE), [scales], 1, alone)
        return rows

    def _layer(self, index: int, x: Tensor, bias: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        prefix, config, frozen = f"model.layers.{index}", self.config, self.frozen.get_buffer
        matrices = [f"{prefix}.{name}.weight" for name in config.linear_shapes()]
        result: Tensor = torch.ops.prge.general_layer(
            x,
            bias,
            torch.empty(scratch_values(config, x.shape[1], 0, self.results_of(index))),
            [frozen(f"{prefix}.{name}.weight") for name in LAYER_NORMS],
            [self.get_buffer(name) for name in self.tables[index]],
            [frozen(name) for name in matrices],
            [self._perturbed_vector(name, key, eps, x, sign) for name in matrices],
            *([], [], []),  # adapters
            *self._shape_of_layer([frozen(f"{prefix}.{name}") for name in config.vector_sizes()]),
        )
        return result

    def _logits(self, x: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        normal = torch.ops.prge.rms_norm(x, self.frozen.get_buffer(NORM), self.config.norm_eps)
        scales = self._perturbed_vector(self.head, key, eps, x, sign)
        logits: Tensor = torch.ops.prge.linear_frozen(normal, self.frozen.get_buffer(self.head), [scales])
        return logits


def stored_tensors(parts: Parts) -> Mapping[str, tuple[Tensor, ...]]:
    """Returns the stored form of each tensor of a model by its canonical name: values or codes, then scales.

    A tied head has none of its own.
    """
    named: dict[str, tuple[Tensor, ...]] = {NORM: (parts.head.get_parameter("norm.weight"),)}
    matrices = {TABLE: parts.embedding}
    if not parts.config.tie_embeddings:
        matrices[HEAD] = parts.head.get_submodule("lm_head")
    for index, block in enumerate(parts.blocks):
        layer, prefix = cast(FrozenLayerBlock, block), f"model.layers.{index}"
        named |= {f"{prefix}.{name}.weight": (value,) for name, value in zip(LAYER_NORMS, layer.norms, strict=True)}
        names = parts.config.vector_sizes()
        named |= {f"{prefix}.{name}": (value,) for name, value in zip(names, layer.vectors, strict=True)}
        shapes = parts.config.linear_shapes()
        matrices |= {f"{prefix}.{name}.weight": each for name, each in zip(shapes, layer.projections, strict=True)}
    coded = {name: cast(Frozen, module) for name, module in matrices.items()}
    return named | {name: (module.weight, *module.scales) for name, module in coded.items()}


def make_program(workload: Workload, parts: Parts) -> QzoStep:
    """Returns the step over the scales of `parts`, which it changes in place when called eagerly."""
    return QzoStep(parts, Shape.of(workload), workload.setting.largest_code)
