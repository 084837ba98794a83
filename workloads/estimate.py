"""What a workload will take, before anything is exported: bytes of weights, of the program, of memory on the device.

Estimates are for refusing what cannot work and for telling how long and large a plan is; results never contain them.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.adapter_layout import adapter_values, layout_of
from workloads.models.config import LlamaConfig
from workloads.prge.passes import Loops
from workloads.workload import Workload

_BYTES_PER_VALUE = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.5}
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
    table = _matrix_bytes(workload, config.vocab_size, config.hidden_size)
    linears = config.layers * sum(_matrix_bytes(workload, *shape) for shape in config.linear_shapes().values())
    size = _BYTES_PER_ACTIVATION[workload.quant]
    resident = linears + table + counts.norms * size + _frozen_adapter_bytes(workload, config)
    # An embedding of its own is read row by row from the mapped file. A tied one is the head's matrix, which stands
    # twice in the file where the delegate packs it.
    embedding = 0 if config.tie_embeddings else table
    second = table if config.tie_embeddings and workload.quant != "nf4" else 0
    weights = resident + embedding
    trained = adapter_values(layout_of(workload, config))
    return Estimate(
        weight_bytes=weights,
        program_bytes=weights + second,
        memory_bytes=resident + _activation_bytes(workload, config) + 3 * trained * 4 + _RUNTIME_BYTES,
        export_memory_bytes=round(counts.total * 4 + 2.5 * (weights + second)) + (1 << 30),
        flops_per_step=2.0 * counts.decoder_linears * 2 * workload.q * workload.b * workload.T,
    )


def _matrix_bytes(workload: Workload, rows: int, columns: int) -> int:
    """A frozen matrix with its scales: one for each row in int8, for each block of 64 in nf4."""
    scales = {"int8": 4 * rows, "nf4": 4 * -(-rows * columns // 64)}.get(workload.quant, 0)
    return round(rows * columns * _BYTES_PER_VALUE[workload.quant]) + scales


def _frozen_adapter_bytes(workload: Workload, config: LlamaConfig) -> int:
    """All A [rank, in]."""
    columns = sum(config.projection_shape(slot.projection)[1] for slot in layout_of(workload, config))
    return workload.rank * columns * _BYTES_PER_ACTIVATION[workload.quant]


def _activation_bytes(workload: Workload, config: LlamaConfig) -> int:
    """The residual stream of a pass and, of one chunk of it, the widest point.

    That is the feed-forward's gate, up and product, the attention's scores, or the logits.
    """
    size = _BYTES_PER_ACTIVATION[workload.quant]
    loops = Loops(workload.q, workload.outer_parallel, workload.inner_parallel)
    chunk = next(loops.passes()).chunks(workload.b * workload.T)[0]
    rows = chunk.slices * workload.b * workload.T
    residual = workload.slices * workload.b * workload.T * config.hidden_size * size
    feed_forward = rows * (3 * config.hidden_size + 4 * config.intermediate_size) * size
    attention = rows * (4 * config.hidden_size + 2 * config.heads * workload.T) * size
    logits = 3 * chunk.slices * workload.b * workload.answers * config.vocab_size * 4
    return residual + max(feed_forward, attention, logits)
