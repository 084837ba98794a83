"""What a workload will take, before anything is exported: bytes of weights, of the program, of memory on the device.

Estimates are for refusing what cannot work and for telling how long and large a plan is; results never contain them.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.adapter_layout import adapter_values, layout_of
from workloads.host_memory import export_peak_bytes, reference_peak_bytes
from workloads.models.config import LlamaConfig
from workloads.prge.passes import ForwardPass, Loops, rows_per_chunk
from workloads.stored_size import BYTES_PER_ACTIVATION, layer_bytes, table_bytes
from workloads.workload import Workload

_RUNTIME_BYTES = 8 << 20
"""The runner with its libraries, before a program is loaded."""


@dataclass(frozen=True)
class Estimate:
    """In bytes: weights as stored, the program file, peak memory of a session, peak memory of the export.

    `layer_calls` is how often the program calls a decoder layer in a step: its graph has an entry for each.
    """

    weight_bytes: int
    program_bytes: int
    memory_bytes: int
    export_memory_bytes: int
    flops_per_step: float
    layer_calls: int


def estimate(workload: Workload, config: LlamaConfig) -> Estimate:
    """What `workload` on a model of this shape will take."""
    counts = config.parameter_counts()
    table, linears = table_bytes(workload.quant, config), config.layers * layer_bytes(workload.quant, config)
    size = BYTES_PER_ACTIVATION[workload.quant]
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
        memory_bytes=resident + _activation_bytes(workload, config) + 2 * trained * 4 + _RUNTIME_BYTES,
        export_memory_bytes=max(export_peak_bytes(workload, config), reference_peak_bytes(workload, config)),
        layer_calls=config.layers * sum(len(_chunks(workload, this)) for this in _loops(workload).passes()),
        flops_per_step=2.0 * counts.decoder_linears * 2 * workload.q * workload.b * workload.T,
    )


def _frozen_adapter_bytes(workload: Workload, config: LlamaConfig) -> int:
    """All A [rank, in]."""
    columns = sum(config.projection_shape(slot.projection)[1] for slot in layout_of(workload, config))
    return workload.rank * columns * BYTES_PER_ACTIVATION[workload.quant]


def _activation_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Of one chunk of a pass: the residual stream and the widest point.

    That is the feed-forward's gate, up and product, the attention's scores, or the logits.
    """
    size = BYTES_PER_ACTIVATION[workload.quant]
    chunk = _chunks(workload, next(_loops(workload).passes()))[0]
    rows = chunk.slices * workload.b * workload.T
    residual = rows * config.hidden_size * size
    feed_forward = rows * (3 * config.hidden_size + 4 * config.intermediate_size) * size
    attention = rows * (4 * config.hidden_size + 2 * config.heads * workload.T) * size
    logits = 3 * chunk.slices * workload.b * workload.answers * config.vocab_size * 4
    return residual + max(feed_forward, attention, logits)


def _loops(workload: Workload) -> Loops:
    return Loops(workload.q, workload.outer_parallel, workload.inner_parallel)


def _chunks(workload: Workload, this: ForwardPass) -> tuple[ForwardPass, ...]:
    """The groups that go through the model one after the other."""
    return this.chunks(workload.b * workload.T, rows_per_chunk(workload.quant))
