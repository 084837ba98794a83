"""The parts of a model with NF4 weights, which XNNPACK can't multiply: the runner has an operator for a whole layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot
from workloads.models.config import PROJECTIONS
from workloads.models.llama import DecoderLayer, Llama, Rotary
from workloads.prge import layer_op as _layer_op  # registers decoder_layer_nf4  # noqa: F401
from workloads.prge import step_ops as _step_ops  # registers rms_norm  # noqa: F401
from workloads.prge.adapter import AdaptedLinear
from workloads.prge.layer_scratch import scratch_values


class Nf4LayerBlock(nn.Module):
    """Called like a LayerBlock; its constants are buffers under the names they have in the layer."""

    def __init__(self, layer: DecoderLayer, slots: Sequence[AdapterSlot], rotary: Rotary) -> None:
        super().__init__()
        self.config = layer.self_attn.config
        self.rank = slots[0].rank if slots else 0
        self.adapted = [PROJECTIONS.index(slot.projection) for slot in slots]
        self.norms = nn.ParameterList([layer.input_layernorm.weight, layer.post_attention_layernorm.weight])
        for name, table in vars(rotary).items():
            self.register_buffer(name, table, persistent=False)
        self.tables = tuple(vars(rotary))
        for name in PROJECTIONS:
            owner = layer.self_attn if hasattr(layer.self_attn, name) else layer.mlp
            module = owner.get_submodule(name)
            if isinstance(module, AdaptedLinear):
                self.register_buffer(f"{name}_a", module.low_rank.lora_a)
                module = module.base
            self.register_buffer(f"{name}_packed", module.get_buffer("packed"))
            self.register_buffer(f"{name}_absmax", module.get_buffer("absmax"))

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [slices, b * T, hidden], bias [slices * b, 1, 1, T, T], adapters [slices, rank, out] -> like x."""
        scratch = torch.empty(scratch_values(self.config, x.shape[0] * x.shape[1], self.rank))
        result: Tensor = torch.ops.prge.decoder_layer_nf4(
            x,
            bias,
            scratch,
            list(self.norms),
            [self.get_buffer(name) for name in self.tables],
            [self.get_buffer(f"{name}_packed") for name in PROJECTIONS],
            [self.get_buffer(f"{name}_absmax") for name in PROJECTIONS],
            [self.get_buffer(f"{PROJECTIONS[place]}_a") for place in self.adapted],
            list(adapters),
            self.adapted,
            self.config.heads,
            self.config.kv_heads,
            self.config.norm_eps,
        )
        return result


class Nf4HeadBlock(nn.Module):
    """The last norm and the output head; called like a HeadBlock."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.norm = model.model.norm
        self.lm_head = model.lm_head
        self.epsilon = model.config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [rows, hidden] -> logits [rows, vocabulary]."""
        result: Tensor = self.lm_head(torch.ops.prge.rms_norm(x, self.norm.weight, self.epsilon))
        return result
