"""What a workload will take, before anything is exported: bytes of weights, of the program, of memory on the device.

Estimates are for refusing what cannot work and for telling how long and large a plan is; results never contain them.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.host_memory import export_peak_bytes, reference_peak_bytes
from workloads.models.config import LlamaConfig
from workloads.session_memory import chunks_of_step, frozen_adapter_columns, session_peak_bytes
from workloads.stored_size import BYTES_PER_OPERAND, layer_bytes, table_bytes
from workloads.workload import Workload

_GRAPH_BYTES = 5_000
_GRAPH_BYTES_PER_CHUNK = 5_000
_GRAPH_BYTES_PER_CALL = {"fp32": 1_600, "fp16": 1_600, "int8": 1_600, "nf4": 2_400}
_GRAPH_BYTES_PER_DELEGATE = {"fp32": 13_000, "fp16": 14_500, "int8": 13_500, "nf4": 0}
"""What a program holds beside its constants: instructions and tensors, and the graph of each layer's delegate."""


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
    counts, quant = config.parameter_counts(), workload.quant
    table, linears = table_bytes(quant, config), config.layers * layer_bytes(quant, config)
    frozen = workload.rank * frozen_adapter_columns(workload, config) * BYTES_PER_OPERAND[quant]
    resident = linears + table + 4 * counts.norms + frozen
    # An embedding of its own is read row by row from the mapped file. A tied one is the head's matrix, which stands
    # twice in the file where the delegate packs it.
    embedding = 0 if config.tie_embeddings else table
    second = table if config.tie_embeddings and quant in ("fp32", "int8") else 0
    weights = resident + embedding
    chunks = len(chunks_of_step(workload))
    calls = config.layers * chunks
    graph = _GRAPH_BYTES + chunks * _GRAPH_BYTES_PER_CHUNK + calls * _GRAPH_BYTES_PER_CALL[quant]
    graph += config.layers * _GRAPH_BYTES_PER_DELEGATE[quant]
    graph += 4 * workload.T * config.head_dim * 4  # the tables of rotary
    tokens = 2 * workload.q * workload.b * workload.T
    attention = 2 * config.layers * workload.T * config.query_size  # scores and mixed values of a token
    return Estimate(
        weight_bytes=weights,
        program_bytes=weights + second + graph,
        memory_bytes=session_peak_bytes(workload, config, resident, calls),
        export_memory_bytes=max(export_peak_bytes(workload, config), reference_peak_bytes(workload, config)),
        layer_calls=calls,
        flops_per_step=2.0 * tokens * (counts.decoder_linears + attention),
    )
