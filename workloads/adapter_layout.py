"""The adapter of a workload: its settings and where each projection's B lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.workload import Workload


@dataclass(frozen=True)
class LoraSettings:
    """Rank, scale (alpha / rank) and the projections that get an adapter."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = PROJECTIONS


@dataclass(frozen=True)
class AdapterSlot:
    """Where one projection's B [rank, features] lies in the flat adapter."""

    layer: int
    projection: str
    offset: int
    rank: int
    features: int

    @property
    def size(self) -> int:
        return self.rank * self.features


def adapter_layout(config: LlamaConfig, lora: LoraSettings) -> tuple[AdapterSlot, ...]:
    """The slots of all adapters, layer by layer, without gaps."""
    slots: list[AdapterSlot] = []
    offset = 0
    for layer in range(config.layers):
        for projection in (name for name in PROJECTIONS if name in lora.targets):
            features, _ = config.projection_shape(projection)
            slots.append(AdapterSlot(layer, projection, offset, lora.rank, features))
            offset += slots[-1].size
    return tuple(slots)


def adapter_values(layout: Sequence[AdapterSlot]) -> int:
    """Number of trained values."""
    return layout[-1].offset + layout[-1].size


def lora_settings(workload: Workload) -> LoraSettings:
    """The adapter's settings of a workload."""
    return LoraSettings(workload.rank, workload.alpha, workload.targets)


def layout_of(workload: Workload, config: LlamaConfig) -> tuple[AdapterSlot, ...]:
    """Where each projection's B lies in the flat adapter of this workload."""
    return adapter_layout(config, lora_settings(workload))
