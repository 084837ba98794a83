"""The adapter of a workload: its settings and where each projection's B lies."""

from __future__ import annotations

from workloads.models.config import LlamaConfig
from workloads.prge.adapter import AdapterSlot, LoraSettings, adapter_layout
from workloads.workload import Workload


def lora_settings(workload: Workload) -> LoraSettings:
    """The adapter's settings of a workload."""
    return LoraSettings(workload.rank, workload.alpha, workload.targets)


def layout_of(workload: Workload, config: LlamaConfig) -> tuple[AdapterSlot, ...]:
    """Where each projection's B lies in the flat adapter of this workload."""
    return adapter_layout(config, lora_settings(workload))
