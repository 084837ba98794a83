"""A decoder layer cut at its NF4 products.

XNNPACK has no product with 4-bit weights of this kind, so the runner's kernel does it, and what lies between two such
products is a delegate. The parts hold the same modules as the layer they were cut from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot
from workloads.models.llama import DecoderLayer, Rotary, attend, swiglu
from workloads.prge.adapter import AdaptedLinear

PARTS = ("enter", "attend", "between", "gate", "leave")


class _WithLowRank(nn.Module):
    """A part that adds adapters' shares to frozen products."""

    def __init__(self, projections: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(projections)
        for name, module in projections.items():
            if isinstance(module, AdaptedLinear):
                self.add_module(name, module.low_rank)

    def adapted(self, x: Tensor, frozen: Sequence[Tensor], adapters: Sequence[Tensor]) -> list[Tensor]:
        """The complete products of the part's projections; `adapters` has an entry for each adapted one."""
        remaining = iter(adapters)
        return [
            product + self.get_submodule(name)(x, next(remaining)) if hasattr(self, name) else product
            for name, product in zip(self.names, frozen, strict=True)
        ]


class _Attend(_WithLowRank):
    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    def __init__(self, layer: DecoderLayer, rotary: Rotary) -> None:
        attention = layer.self_attn
        super().__init__({name: attention.get_submodule(name) for name in ("q_proj", "k_proj", "v_proj")})
        self.config = attention.config
        for name, table in vars(rotary).items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        q, k, v = self.adapted(x, (q, k, v), adapters)
        return attend(self.config, q, k, v, Rotary(self.query_cos, self.query_sin, self.key_cos, self.key_sin), bias)


class _Between(_WithLowRank):
    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__({"o_proj": layer.self_attn.get_submodule("o_proj")})
        self.norm = layer.post_attention_layernorm

    def forward(self, x: Tensor, mixed: Tensor, out: Tensor, *adapters: Tensor) -> tuple[Tensor, Tensor]:
        (out,) = self.adapted(mixed, (out,), adapters)
        x = x + out
        return x, self.norm(x)


class _Gate(_WithLowRank):
    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__({name: layer.mlp.get_submodule(name) for name in ("gate_proj", "up_proj")})

    def forward(self, x: Tensor, gate: Tensor, up: Tensor, *adapters: Tensor) -> Tensor:
        gate, up = self.adapted(x, (gate, up), adapters)
        return swiglu(gate, up)


class _Leave(_WithLowRank):
    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__({"down_proj": layer.mlp.get_submodule("down_proj")})

    def forward(self, x: Tensor, hidden: Tensor, down: Tensor, *adapters: Tensor) -> Tensor:
        (down,) = self.adapted(hidden, (down,), adapters)
        return x + down


class SplitLayerBlock(nn.Module):
    """Called like a LayerBlock; its parts can be replaced by delegates."""

    def __init__(self, layer: DecoderLayer, slots: Sequence[AdapterSlot], rotary: Rotary) -> None:
        super().__init__()
        self.projections = tuple(slot.projection for slot in slots)
        self.parts = nn.ModuleDict(
            {
                "enter": layer.input_layernorm,
                "attend": _Attend(layer, rotary),
                "between": _Between(layer),
                "gate": _Gate(layer),
                "leave": _Leave(layer),
            }
        )
        self.frozen = nn.ModuleDict(
            {
                name: module.base if isinstance(module, AdaptedLinear) else module
                for owner in (layer.self_attn, layer.mlp)
                for name, module in owner.named_children()
            }
        )

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [slices, b * T, hidden], bias [slices * b, 1, 1, T, T], adapters [slices, rank, out] -> like x."""
        given = dict(zip(self.projections, adapters, strict=True))

        def of(*names: str) -> list[Tensor]:
            return [given[name] for name in names if name in given]

        frozen, parts = self.frozen, self.parts
        h = parts["enter"](x)
        q, k, v = (frozen[name](h) for name in ("q_proj", "k_proj", "v_proj"))
        mixed = parts["attend"](h, q, k, v, bias, *of("q_proj", "k_proj", "v_proj"))
        x, h = parts["between"](x, mixed, frozen["o_proj"](mixed), *of("o_proj"))
        hidden = parts["gate"](h, frozen["gate_proj"](h), frozen["up_proj"](h), *of("gate_proj", "up_proj"))
        result: Tensor = parts["leave"](x, hidden, frozen["down_proj"](hidden), *of("down_proj"))
        return result


def part_examples(block: SplitLayerBlock, example: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
    """The arguments that each part of `block` receives when the block is called with `example`."""
    seen: dict[str, tuple[Tensor, ...]] = {}

    def remember(name: str) -> object:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen[name] = arguments

        return block.parts[name].register_forward_pre_hook(hook)

    handles = [remember(name) for name in PARTS]
    block(*example)
    for handle in handles:
        handle.remove()  # type: ignore[attr-defined]
    return seen
