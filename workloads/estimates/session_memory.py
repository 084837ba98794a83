"""Estimates a session's peak memory on the device, and the bytes that a setting stores, from shapes alone."""

from __future__ import annotations

from functools import lru_cache

from workloads.methods.passes import ForwardPass, Loops, rows_per_chunk, scratch_values
from workloads.models.config import LlamaConfig
from workloads.workload import Workload, adapter_values, layout_of

BYTES_PER_VALUE = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.5}
BYTES_PER_OPERAND = {"fp32": 4, "fp16": 2, "int8": 4, "nf4": 4}
"""Bytes of a product's operands: A, B and activations. Everything else is float32."""


def matrix_bytes(quant: str, rows: int, columns: int) -> int:
    """Returns the bytes of a frozen matrix with its scales: one for each row in int8, for each block of 64 in nf4."""
    scales = {"int8": 4 * rows, "nf4": 4 * -(-rows * columns // 64)}.get(quant, 0)
    return round(rows * columns * BYTES_PER_VALUE[quant]) + scales


def table_bytes(quant: str, config: LlamaConfig) -> int:
    """Returns the bytes of the embedding, or of a separate head."""
    return matrix_bytes(quant, config.vocab_size, config.hidden_size)


def layer_bytes(quant: str, config: LlamaConfig) -> int:
    """Returns the bytes of a decoder layer's seven projections."""
    return sum(matrix_bytes(quant, *shape) for shape in config.linear_shapes().values())


_MIB = 1 << 20
_RUNNER_BYTES = {"fp32": 6.6 * _MIB, "fp16": 6.6 * _MIB, "int8": 6.6 * _MIB, "nf4": 5.0 * _MIB}
"""The runner with its libraries and its threads' buffers; nf4 doesn't use XNNPACK."""

_BYTES_PER_LAYER = {"fp32": 0.23 * _MIB, "fp16": 0.27 * _MIB, "int8": 0.30 * _MIB, "nf4": 0.0}
"""Operators of a delegate, and its graph."""

_BYTES_PER_CALL = 7 << 10
"""One call of a layer: its instructions, arguments and tensors."""

_PANEL = {"fp32": 16, "fp16": 32, "int8": 16}
"""XNNPACK packs a matrix in panels of this many rows; smaller ones, such as A or the row of a norm, are padded."""

_NORM_PANEL = 16
"""The same for the constant row with which a norm takes its mean, float32 in every setting."""


@lru_cache(maxsize=64)
def chunks_of_step(workload: Workload) -> tuple[ForwardPass, ...]:
    """Returns the groups of all passes of a step, which go through the model one after the other."""
    loops = Loops(workload.q, workload.outer_parallel, workload.inner_parallel)
    rows, at_least = workload.b * workload.T, rows_per_chunk(workload.quant)
    return tuple(chunk for each in loops.passes() for chunk in each.chunks(rows, at_least))


def session_peak_bytes(workload: Workload, config: LlamaConfig, resident_bytes: int, layer_calls: int) -> int:
    """Returns the runner's peak: `resident_bytes` of weights, the overhead of packing, the adapter, and one chunk's
    work.
    """
    state = 4 * adapter_values(layout_of(workload, config))
    quant = workload.quant
    fixed = _RUNNER_BYTES[quant] + config.layers * _BYTES_PER_LAYER[quant] + layer_calls * _BYTES_PER_CALL
    work = _nf4_work_bytes(workload, config) if quant == "nf4" else _delegated_work_bytes(workload, config)
    return round(fixed) + resident_bytes + state + work


def frozen_adapter_columns(workload: Workload, config: LlamaConfig) -> int:
    """Returns the input features of all A [rank, in] together."""
    return sum(config.projection_shape(slot.projection)[1] for slot in layout_of(workload, config))


def _delegated_work_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns planned memory, XNNPACK's workspace, and the padding of small matrices that it packs.

    A layer's workspace peaks when attention scores coexist with queries, keys and values, or gate and up with the
    adapter's share of up.
    """
    size, panel = BYTES_PER_OPERAND[workload.quant], _PANEL[workload.quant]
    beside = 0 if size == 4 else size  # a float16 operand coexists with the float32 values that it is made from
    chunk = chunks_of_step(workload)[0]
    sequences = chunk.slices * workload.b
    rows, scores = sequences * workload.T, sequences * workload.T * workload.T
    hidden = rows * config.hidden_size
    perturbed, logits = size * _perturbed_values(workload, config), 4 * _logits(workload, config)
    planned = 4 * scores + max(8 * hidden + perturbed, 4 * hidden + logits)
    attention = scores * config.heads + rows * (config.query_size + 2 * config.kv_size)
    feed_forward = 2 * hidden + 3 * rows * config.intermediate_size
    filled_a = size * (-workload.rank % panel) * frozen_adapter_columns(workload, config)
    norms = 4 * (2 * config.layers + 1) * _NORM_PANEL * config.hidden_size
    return planned + (4 + beside) * max(attention, feed_forward) + filled_a + norms


def _nf4_work_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns planned memory alone: a layer overwrites its input and works in scratch memory that the program plans."""
    chunk = chunks_of_step(workload)[0]
    sequences = chunk.slices * workload.b
    rows = sequences * workload.T
    layer = _perturbed_values(workload, config) + scratch_values(config, rows, workload.rank)
    beside = rows * config.hidden_size + sequences * workload.T * workload.T
    return 4 * (beside + max(layer, _logits(workload, config)))


def _perturbed_values(workload: Workload, config: LlamaConfig) -> int:
    """Returns the bytes of one layer's adapters, for each slice of a chunk."""
    return chunks_of_step(workload)[0].slices * adapter_values(layout_of(workload, config)) // config.layers


def _logits(workload: Workload, config: LlamaConfig) -> int:
    return chunks_of_step(workload)[0].slices * workload.b * workload.answers * config.vocab_size
