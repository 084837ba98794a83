"""What a workload will take, before anything is exported: bytes of weights, of the program, of memory on the device.

Estimates are for refusing what cannot work and for telling how long and large a plan is; results never contain them.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.adapter_layout import layout_of
from workloads.models.config import LlamaConfig
from workloads.prge.adapter import adapter_values
from workloads.workload import Workload

_BYTES_PER_WEIGHT = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}
_BYTES_PER_ACTIVATION = {"fp32": 4, "fp16": 2, "int8": 4, "nf4": 4}
_RUNTIME_BYTES = 24 << 20
"""The runner with its libraries, before a program is loaded."""


@dataclass(frozen=True)
class Estimate:
    """All in bytes: weights as stored, the program file, peak memory of a session, peak memory of the export."""

    weight_bytes: int
    program_bytes: int
    memory_bytes: int
    export_memory_bytes: int
    flops_per_step: float


def estimate(workload: Workload, config: LlamaConfig) -> Estimate:
    """What `workload` on a model of this shape will take."""
    counts = config.parameter_counts()
    trained = adapter_values(layout_of(workload, config))
    head = counts.output_head or counts.embedding
    per_weight = _BYTES_PER_WEIGHT[workload.quant]
    weights = round((counts.decoder_linears + head) * per_weight) + counts.norms * 4
    # A tied head stands twice in the file where the delegate packs it: once as its own, once as the embedding's table.
    table = 0 if workload.quant == "nf4" and counts.output_head == 0 else round(counts.embedding * per_weight)
    rows = 2 * workload.q * workload.b * workload.T if workload.inner_parallel else workload.q * workload.b * workload.T
    memory = weights + _activation_bytes(workload, config, rows) + 3 * trained * 4 + _RUNTIME_BYTES
    return Estimate(
        weight_bytes=weights,
        program_bytes=weights + table,
        memory_bytes=memory,
        export_memory_bytes=round(counts.total * 4 + 2.5 * (weights + table)) + (1 << 30),
        flops_per_step=2.0 * counts.decoder_linears * 2 * workload.q * workload.b * workload.T,
    )


def _activation_bytes(workload: Workload, config: LlamaConfig, rows: int) -> int:
    """The widest point of a layer: residual, the feed-forward's gate, up and product, or the attention's scores."""
    size = _BYTES_PER_ACTIVATION[workload.quant]
    feed_forward = rows * (3 * config.hidden_size + 4 * config.intermediate_size) * size
    attention = rows * (4 * config.hidden_size + 2 * config.heads * workload.T) * size
    logits = 3 * workload.slices * workload.b * workload.answers * config.vocab_size * 4
    return max(feed_forward, attention, logits)
