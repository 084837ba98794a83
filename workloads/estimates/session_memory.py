"""Estimates a session's peak memory on the device, and the bytes that a setting stores, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from workloads.methods.passes import ForwardPass, Loops, backward_scratch_values, scratch_values
from workloads.models.config import LlamaConfig
from workloads.quantize.settings import SETTINGS
from workloads.workload import (
    AdapterSlot,
    Workload,
    adapter_values,
    layers_above_adapters,
    layers_below_adapters,
    layout_of,
)


def table_bytes(quant: str, config: LlamaConfig) -> int:
    """Returns the bytes of the embedding, or of a separate head."""
    return SETTINGS[quant].matrix_bytes(config.vocab_size, config.hidden_size)


def layer_bytes(quant: str, config: LlamaConfig) -> int:
    """Returns the bytes of a decoder layer's seven projections."""
    return sum(SETTINGS[quant].matrix_bytes(*shape) for shape in config.linear_shapes().values())


def scales_of_table(quant: str, config: LlamaConfig) -> int:
    """Returns the number of float32 scales of the embedding, or of a separate head."""
    return SETTINGS[quant].scale_bytes(config.vocab_size, config.hidden_size) // 4


def scales_of_layer(quant: str, config: LlamaConfig) -> int:
    """Returns the number of float32 scales of a decoder layer's seven projections."""
    return sum(SETTINGS[quant].scale_bytes(*shape) // 4 for shape in config.linear_shapes().values())


def trained_values(workload: Workload, config: LlamaConfig) -> int:
    """Returns how many values of the model itself a method trains: none with adapters."""
    if workload.training_method.trains == "scales":
        tables = (1 if config.tie_embeddings else 2) * scales_of_table(workload.quant, config)
        return tables + config.layers * scales_of_layer(workload.quant, config)
    return config.parameter_counts().total if workload.training_method.trains_weights else 0


_BYTES_PER_CALL = 7 << 10
"""One call of a layer: its instructions, arguments and tensors."""

_BACKPROP_BYTES = 300 << 10
"""Pages of the runner that only the backward pass touches."""

_WEIGHT_NOISE_BYTES = 1 << 20
"""Pages of the runner and of its threads that only the noise and updates of weights touch."""

_THREADS = 2
"""The number of threads whose buffers are counted; those of more threads are small compared with the weights."""

_NORM_PANEL = 16
"""XNNPACK pads the constant row for a norm's mean to this many rows; it is float32 in every setting."""


@lru_cache(maxsize=64)
def chunks_of_step(workload: Workload) -> tuple[ForwardPass, ...]:
    """Returns the groups of all passes of a step, which pass through the model one after the other."""
    rows, at_least = workload.b * workload.T, workload.setting.rows_per_chunk
    return tuple(chunk for each in Loops.of(workload).passes() for chunk in each.chunks(rows, at_least))


def adapter_state_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns the bytes of the adapter and of what a method keeps with it; 0 without adapters."""
    method = workload.training_method
    vectors = 3 if method.optimizer == "adam" else method.vectors
    return 4 * vectors * adapter_values(layout_of(workload, config))


def session_peak_bytes(workload: Workload, config: LlamaConfig, resident_bytes: int, layer_calls: int) -> int:
    """Returns the runner's peak: `resident_bytes` of weights, the overhead of packing, the adapter, and one chunk's
    work.
    """
    costs = workload.costs
    delegates = delegates_of_layers(workload, config)
    fixed = costs.runner_bytes + delegates * costs.bytes_per_layer + layer_calls * _BYTES_PER_CALL
    work = _kernel_work_bytes if workload.by_kernel else _delegated_work_bytes
    if workload.training_method.optimizer is not None:
        work = _backprop_work_bytes
    if workload.training_method.trains_weights:
        fixed += _WEIGHT_NOISE_BYTES
    if layers_below_adapters(layout_of(workload, config)):  # their result is kept for all passes
        fixed += 4 * workload.b * workload.T * config.hidden_size
    return round(fixed) + resident_bytes + adapter_state_bytes(workload, config) + work(workload, config)


def delegates_of_layers(workload: Workload, config: LlamaConfig) -> int:
    """Returns how many delegates the layers have: one each, or two for all of them (forward and backward).

    Layers without adapters have a separate one, and those above the adapters a separate backward one.
    """
    if workload.training_method.optimizer is None:
        return config.layers
    layout = layout_of(workload, config)
    below, above = layers_below_adapters(layout), layers_above_adapters(layout, config)
    return 2 + (below + above > 0) + (above > 0)


def calls_of_layer(workload: Workload) -> int:
    """Returns how often a step calls a layer: once for each chunk, or forward and backward."""
    return len(chunks_of_step(workload)) if workload.training_method.optimizer is None else 2


def frozen_adapter_columns(workload: Workload, config: LlamaConfig) -> int:
    """Returns the input features of all A [rank, in] together."""
    return sum(config.projection_shape(slot.projection)[1] for slot in layout_of(workload, config))


def _delegated_work_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns planned memory, XNNPACK's workspace, and the padding of small matrices that it packs.

    A layer's workspace peaks when attention scores coexist with queries, keys and values, or gate and up with the
    adapter's share of up.
    """
    size, panel = workload.setting.operand_bytes, workload.setting.panel
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


def _kernel_work_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns only planned memory: a layer overwrites its input and works in scratch memory that the program plans."""
    chunk = chunks_of_step(workload)[0]
    sequences = chunk.slices * workload.b
    rows = sequences * workload.T
    perturbed = workload.setting.operand_bytes * _perturbed_values(workload, config)
    rank = 0 if workload.training_method.trains_weights else workload.rank
    layer, ends = perturbed + 4 * scratch_values(config, rows, rank), 4 * _logits(workload, config)
    if workload.training_method.trains == "scales":  # those of the part at hand, perturbed
        layer += 4 * scales_of_layer(workload.quant, config)
        ends += 4 * scales_of_table(workload.quant, config)
    beside = rows * config.hidden_size + sequences * workload.T * workload.T
    return 4 * beside + max(layer, ends)


def _backprop_work_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns planned memory, which includes the layers' inputs, and the memory of one layer's backward pass."""
    rows, scores = workload.b * workload.T, workload.b * workload.T**2
    hidden, layout = rows * config.hidden_size, layout_of(workload, config)
    adapters, passed_back = _values_of_layer(layout), config.layers - layers_below_adapters(layout)
    # Inputs of the layers and the last result; gradients before and after a layer; its adapters and gradients by them.
    planned = scores + (passed_back + 3) * hidden + _logits(workload, config) + 2 * adapters
    if workload.by_kernel:
        of_threads = _THREADS * workload.T * (3 * workload.T + 6 * config.head_dim)
        return _BACKPROP_BYTES + 4 * (planned + backward_scratch_values(config, rows, workload.rank) + of_threads)
    heads = rows * (config.query_size + 2 * config.kv_size)
    # At most: attention's inputs, its weights, gate, up and their product; or its weights several times.
    kept = 6 * hidden + 2 * heads + config.heads * scores
    layer = kept + max(6 * rows * config.intermediate_size, 3 * config.heads * scores + 2 * heads)
    widest = max(out * columns for out, columns in config.linear_shapes().values())  # packed in the course of a product
    return 4 * (planned + layer + widest)


def _perturbed_values(workload: Workload, config: LlamaConfig) -> int:
    """Returns the number of values of one layer's adapters, for each slice of a chunk."""
    return chunks_of_step(workload)[0].slices * _values_of_layer(layout_of(workload, config))


def _values_of_layer(layout: Sequence[AdapterSlot]) -> int:
    """Returns the number of values of one layer's adapters; 0 without any."""
    return sum(slot.size for slot in layout if slot.layer == layout[0].layer)


def _logits(workload: Workload, config: LlamaConfig) -> int:
    return chunks_of_step(workload)[0].slices * workload.b * workload.answers * config.vocab_size
