"""The parts of a model that are lowered one by one: a decoder layer, and the head.

XNNPACK can't multiply weights in the forms of most settings: for these the runner has an operator for a whole layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workloads.methods import backprop_operators, operators  # registers the operators  # noqa: F401
from workloads.methods.adapter import AdaptedLinear
from workloads.methods.passes import backward_scratch_values, scratch_values
from workloads.models.config import PROJECTIONS, VECTORS
from workloads.models.llama import DecoderLayer, Llama, Rotary, operand, widened
from workloads.quantize.frozen import Frozen
from workloads.workload import AdapterSlot


class LayerBlock(nn.Module):
    """A decoder layer whose perturbed adapters are plain inputs, in the order of its slots."""

    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    def __init__(self, layer: DecoderLayer, slots: Sequence[AdapterSlot], rotary: Rotary) -> None:
        super().__init__()
        self.layer = layer
        self.projections = tuple(slot.projection for slot in slots)
        self.varying = tuple(vars(rotary)) if layer.self_attn.config.ropes_vary else ()
        for name, table in vars(rotary).items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [slices, b * T, hidden], bias [slices * b, 1, 1, T, T], adapters [slices, rank, out] -> like x.

        Or the rows that the rotary tables have queries for, [slices, b * K, hidden].
        """
        rotary = Rotary(self.query_cos, self.query_sin, self.key_cos, self.key_sin)
        result: Tensor = self.layer(x, rotary, bias, dict(zip(self.projections, adapters, strict=True)))
        return result


def by_kernel(block: LayerBlock, slots: Sequence[AdapterSlot]) -> FrozenLayerBlock:
    """Returns a layer around the same constants that is computed by the runner's kernels."""
    rotary = Rotary(block.query_cos, block.query_sin, block.key_cos, block.key_sin)
    return FrozenLayerBlock(block.layer, slots, rotary)


class HeadBlock(nn.Module):
    """The last norm and the output head. `products`: the type of the head's operands."""

    def __init__(self, model: Llama, products: torch.dtype) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head
        self.products = products

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [rows, hidden] -> logits float32 [rows, vocabulary]."""
        return widened(self.lm_head(operand(self.norm(x), self.products)))


class FrozenLayerBlock(nn.Module):
    """A decoder layer by the runner's kernels; called like a LayerBlock."""

    def __init__(self, layer: DecoderLayer, slots: Sequence[AdapterSlot], rotary: Rotary) -> None:
        super().__init__()
        self.config = layer.self_attn.config
        self.gelu = self.config.form.gate == "gelu_tanh"
        self.is_plain = not (self.config.form.vectors or self.gelu)
        self.rank = slots[0].rank if slots else 0
        self.adapted = [PROJECTIONS.index(slot.projection) for slot in slots]
        self.norms = nn.ParameterList([layer.input_layernorm.weight, layer.post_attention_layernorm.weight])
        own = dict(layer.named_parameters())
        names = self.config.vector_sizes()
        self.vectors = nn.ParameterList([own[name.replace("_proj.bias", "_proj_bias")] for name in names])
        self.places = [VECTORS.index(name) for name in names]
        for name, table in vars(rotary).items():
            self.register_buffer(name, table, persistent=False)
        self.tables = tuple(vars(rotary))
        self.projections = nn.ModuleList()
        for name in PROJECTIONS:
            owner = layer.self_attn if hasattr(layer.self_attn, name) else layer.mlp
            module = owner.get_submodule(name)
            if isinstance(module, AdaptedLinear):
                self.register_buffer(f"{name}_a", module.low_rank.lora_a.to(layer.self_attn.products))
                module = module.base
            if not isinstance(module, Frozen):  # torch's own linear, which has plain values
                module = Frozen(module.get_parameter("weight").detach())
            self.projections.append(module)

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [slices, b * T, hidden], bias [slices * b, 1, 1, T, T], adapters [slices, rank, out] -> as LayerBlock's."""
        rows, tables = x.shape[0] * x.shape[1], [self.get_buffer(name) for name in self.tables]
        results = rows // tables[2].shape[0] * tables[0].shape[0]
        scratch = torch.empty(scratch_values(self.config, rows, self.rank, results))
        ops = torch.ops.prge
        compute = ops.decoder_layer if self.is_plain else ops.general_layer
        result: Tensor = compute(x, bias, scratch, *self._arguments(adapters))
        return result

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> list[Tensor]:
        """Takes forward's inputs, with one slice, and the gradient by its result -> those by x and by each of the
        adapters."""
        scratch = torch.empty(backward_scratch_values(self.config, x.shape[1], self.rank))
        ops = torch.ops.prge
        compute = ops.decoder_layer_back if self.is_plain else ops.general_layer_back
        result: list[Tensor] = compute(x, bias, scratch, gradient, *self._arguments(adapters))
        return result

    def _arguments(self, adapters: Sequence[Tensor]) -> tuple[Any, ...]:
        projections = [module for module in self.projections if isinstance(module, Frozen)]
        plain = (
            list(self.norms),
            [self.get_buffer(name) for name in self.tables],
            [module.weight for module in projections],
            [scale for module in projections for scale in module.scales],
            [self.get_buffer(f"{PROJECTIONS[place]}_a") for place in self.adapted],
            list(adapters),
            self.adapted,
            self.config.heads,
            self.config.kv_heads,
            self.config.norm_eps,
        )
        return plain if self.is_plain else (*plain, list(self.vectors), self.places, self.gelu)


class FrozenHeadBlock(nn.Module):
    """The last norm and the output head by the runner's kernels, which sum its products in float32.

    Rounding logits would hurt most: a loss is a difference of two of them, and they are the model's largest sums.
    """

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head
        self.epsilon = model.config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [rows, hidden] -> logits float32 [rows, vocabulary]."""
        normal = torch.ops.prge.rms_norm(x, self.norm.weight, self.epsilon)
        scales = self.lm_head.scales if isinstance(self.lm_head, Frozen) else []
        result: Tensor = torch.ops.prge.linear_frozen(normal, self.lm_head.weight, scales)
        return result
