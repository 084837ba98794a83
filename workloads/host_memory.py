"""What the exporting process holds at most: of an export, and of the reference that follows it.

Neither holds the model whole (workloads/layered_model.py), but for nf4, whose packed weights are constants of the
graph. docs/export.md compares the figures with measured peaks, from which the terms that no shape gives were taken.
"""

from __future__ import annotations

from workloads.adapter_layout import adapter_values, layout_of
from workloads.models.config import LlamaConfig
from workloads.reference_cost import GROUP_BYTES, KEPT_BYTES, affordable_steps, queries_at_a_time
from workloads.session_memory import chunks_of_step
from workloads.stored_size import layer_bytes, table_bytes
from workloads.workload import Workload

_LIBRARIES_BYTES = 450 << 20
"""Python with torch and executorch."""

_MOST_MAPPED_BYTES = 256 << 20
"""Of a file of weights so much counts: its pages are the system's to take back."""

_EXPORT_BYTES_PER_CALL = 500 << 10
"""A call of a layer in the graph of a program, while the program is made."""

_TABLES_KEPT = 3
"""Copies of the head that an export with delegates does not give back."""

_NOISE_BYTES_PER_VALUE = 28
"""Words and float64 between them and the noise, for each value of an adapter."""

_ACTIVATIONS_AT_ONCE = 10
"""Attention scores and their mask, exponentials and quantized forms stand side by side in eager execution."""


def export_peak_bytes(workload: Workload, config: LlamaConfig) -> int:
    """The largest of what loading embedding and head, lowering them, and lowering the layers takes."""
    quant = workload.quant
    table, stored = table_bytes("fp32", config), table_bytes(quant, config)
    tables = 1 if config.tie_embeddings else 2
    loading = tables * (table + (0 if quant == "fp32" else stored))
    # The head: its tensor, the bytes that XNNPACK's serializer makes of it, and two copies on their way.
    of_delegates = stored + 4 * stored
    of_graph = tables * stored + config.layers * layer_bytes(quant, config)
    lowering = of_graph if quant == "nf4" else of_delegates
    return _process_bytes(workload, config) + max(loading, lowering + 2 * layer_bytes("fp32", config))


def reference_peak_bytes(workload: Workload, config: LlamaConfig) -> int:
    """What the reference takes, 0 where it costs too much time to be asked for a step."""
    if affordable_steps(workload, config, 1) == 0:
        return 0
    layer, stored = layer_bytes("fp32", config), layer_bytes(workload.quant, config)
    whole = config.layers * layer
    kept = whole if whole <= KEPT_BYTES else config.layers * stored if config.layers * stored <= KEPT_BYTES else 0
    table = table_bytes("fp32", config)
    ends = table + (0 if config.tie_embeddings and workload.quant in ("fp32", "fp16") else table)
    together = min(workload.q, queries_at_a_time(workload, config))
    values = adapter_values(layout_of(workload, config))
    a_query = 4 * (2 * workload.b * workload.T * config.hidden_size + values)
    widest = max(config.intermediate_size, config.hidden_size, config.heads * workload.T)
    activations = min(GROUP_BYTES, 4 * workload.b * workload.T * widest)
    passing = together * a_query + _ACTIVATIONS_AT_ONCE * activations + _NOISE_BYTES_PER_VALUE * values
    left = 0 if workload.quant == "nf4" else _TABLES_KEPT * table_bytes(workload.quant, config)
    return _process_bytes(workload, config) + left + kept + 2 * layer + ends + passing


def _process_bytes(workload: Workload, config: LlamaConfig) -> int:
    """What is there beside tensors: libraries, pages of the weights' file, the graph of the program."""
    mapped = min(config.parameter_counts().total, _MOST_MAPPED_BYTES)
    return _LIBRARIES_BYTES + mapped + config.layers * len(chunks_of_step(workload)) * _EXPORT_BYTES_PER_CALL
