"""Estimates a workload's cost before any export: bytes of weights, program, and memory on the device and the host.

Also the cost of the eager reference, and how many of its steps a run can afford. The reference works on the host, one
query and one sign at a time: for the largest shapes that fit a device, a step takes hours.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.estimates.session_memory import (
    adapter_state_bytes,
    calls_of_layer,
    chunks_of_step,
    delegates_of_layers,
    frozen_adapter_columns,
    layer_bytes,
    scales_of_table,
    session_peak_bytes,
    table_bytes,
    trained_values,
)
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.quantize.settings import REFERENCE_STEPS, QuantizationSetting
from workloads.workload import Workload, adapter_values, layers_below_adapters, layout_of, tokens_of_a_layer

_LIBRARIES_BYTES = 450 << 20
"""Python with torch and executorch."""

_MOST_MAPPED_BYTES = 256 << 20
"""At most this much of a weights file counts as memory: the system can reclaim its pages."""

_EXPORT_BYTES_PER_CALL = 500 << 10
"""One call of a layer in the program's graph, during export."""

_TABLES_KEPT = 3
"""Copies of the head that an export with delegates keeps in memory."""

_NOISE_BYTES_PER_VALUE = 28
"""Random words and float64 intermediates of the noise, per value of an adapter."""

_ACTIVATIONS_AT_ONCE = 10
"""Attention scores, mask, exponentials and quantized forms coexist in eager execution."""


_WEIGHTS_OF_REFERENCE = 3
"""In addition to the model: a reference that trains weights keeps the weights and their noise, and recreates one of
them; one that trains scales does the same with these."""


def export_peak_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns the peak of loading embedding and head, lowering them, and lowering the layers."""
    quant = workload.quant
    table, stored = table_bytes("fp32", config), table_bytes(quant, config)
    tables = 1 if config.tie_embeddings else 2
    loading = tables * (table + (0 if stored == table else stored))
    # The head: its tensor, XNNPACK's serialized bytes, and two intermediate copies.
    of_delegates = stored + 4 * stored
    of_graph = tables * stored + config.layers * layer_bytes(quant, config)
    lowering = of_graph if workload.by_kernel else of_delegates
    return _process_bytes(workload, config) + max(loading, lowering + 2 * layer_bytes("fp32", config))


def reference_peak_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns the reference's peak, 0 if it is too slow to be run at all."""
    if affordable_steps(workload, config, 1) == 0:
        return 0
    layer, stored = layer_bytes("fp32", config), layer_bytes(workload.quant, config)
    whole = config.layers * layer
    layers = whole if whole <= KEPT_BYTES else config.layers * stored if config.layers * stored <= KEPT_BYTES else 0
    table = table_bytes("fp32", config)
    ends = table + (0 if config.tie_embeddings and workload.setting.is_plain else table)
    together = min(workload.q, queries_at_a_time(workload, config))
    layout = layout_of(workload, config)
    values, below = adapter_values(layout), layers_below_adapters(layout)
    a_query = 4 * (2 * workload.b * workload.T * config.hidden_size + values)
    widest = max(config.intermediate_size, config.hidden_size, config.heads * workload.T)
    activations = min(GROUP_BYTES, 4 * workload.b * workload.T * widest)
    passing = together * a_query + _ACTIVATIONS_AT_ONCE * activations + _NOISE_BYTES_PER_VALUE * values
    if workload.training_method.optimizer is not None:  # the layers' inputs, and what autograd keeps of one layer
        passing += (
            4 * (config.layers - below) * workload.b * workload.T * config.hidden_size
            + _ACTIVATIONS_AT_ONCE * activations
        )
    if workload.training_method.trains_weights:
        passing += _WEIGHTS_OF_REFERENCE * 4 * trained_values(workload, config)
    if workload.training_method.trains == "scales":  # which multiply codes of all layers
        passing += config.layers * stored
    left = 0 if workload.by_kernel else _TABLES_KEPT * table_bytes(workload.quant, config)
    return _process_bytes(workload, config) + left + layers + 2 * layer + ends + passing


def _process_bytes(workload: Workload, config: LlamaConfig) -> int:
    """Returns what is in memory besides tensors: libraries, pages of the weights file, the program's graph."""
    mapped = min(config.parameter_counts().total, _MOST_MAPPED_BYTES)
    return _LIBRARIES_BYTES + mapped + config.layers * len(chunks_of_step(workload)) * _EXPORT_BYTES_PER_CALL


_GRAPH_BYTES = 5_000
_GRAPH_BYTES_PER_CHUNK = 5_000
"""Bytes of a program other than its constants, its calls of layers and their delegates' graphs (Costs)."""

_BACKPROP_GRAPH_BYTES = 3_000
"""Operators around the layers in the backward pass, and of the optimizer."""

_GRAPH_BYTES_PER_SHARED_LAYER = 1_000
"""Names of a layer's constants, which shared delegates get as arguments."""

_GRAPH_BYTES_PER_PASS = 2_500
_GRAPH_BYTES_PER_WEIGHT = 300
"""For a program that trains weights: operators around the layers, and each weight's update, name and key."""

_GRAPH_BYTES_PER_SCALES = 560
"""In addition, for a program that trains scales: the perturbation of each matrix's scales in the passes of + and -."""

_FLOPS_PER_TRAINED_WEIGHT = 3_200.0
"""A weight's noise, drawn three times, and its update, as the number of products that take as long."""

_LIST_BYTES = 4_200
_LIST_BYTES_PER_CONSTANT = 416
"""For a data file: room for its list of constants, and their alignment."""


@dataclass(frozen=True)
class Estimate:
    """In bytes: weights as stored, the program file, peak memory of a session, peak memory of the export.

    `weights_file_bytes`: the data file shared by all programs of a model and setting; `adapters_file_bytes`: the one
    shared by all with the same A; `state_bytes`: what a training saves after a step. `layer_calls` is the number of
    decoder layer calls in a step, each of which is an entry in the program's graph.
    """

    weight_bytes: int
    program_bytes: int
    memory_bytes: int
    export_memory_bytes: int
    flops_per_step: float
    layer_calls: int
    weights_file_bytes: int
    adapters_file_bytes: int
    state_bytes: int

    @property
    def deployed_bytes(self) -> int:
        """The program with its data files."""
        return self.program_bytes + self.weights_file_bytes + self.adapters_file_bytes


def estimate(workload: Workload, config: LlamaConfig) -> Estimate:
    """Estimates the cost of `workload` on a model of this shape."""
    counts, quant, setting = config.parameter_counts(), workload.quant, workload.setting
    table, linears = table_bytes(quant, config), config.layers * layer_bytes(quant, config)
    frozen = workload.rank * frozen_adapter_columns(workload, config) * (4 if workload.products == "float32" else 2)
    resident = linears + table + 4 * counts.norms + frozen
    # A separate embedding is read row by row from the mapped file. A tied one is the head's matrix.
    own = setting.embedding or quant
    embedding = 0 if config.tie_embeddings and own == quant else table_bytes(own, config)
    weights = resident + embedding
    if workload.training_method.trains == "weights":
        resident = weights
    elif workload.training_method.trains == "scales" and not config.tie_embeddings:
        resident += 4 * scales_of_table(quant, config)
    trained = workload.training_method.trains_weights
    chunks = len(chunks_of_step(workload))
    below = layers_below_adapters(layout_of(workload, config))
    calls = below + (config.layers - below) * calls_of_layer(workload)
    graph = _GRAPH_BYTES + chunks * (_GRAPH_BYTES_PER_PASS if trained else _GRAPH_BYTES_PER_CHUNK)
    graph += calls * workload.costs.graph_bytes_per_call
    graph += delegates_of_layers(workload, config) * workload.costs.graph_bytes_per_delegate
    graph += len(config.tensor_shapes()) * _GRAPH_BYTES_PER_WEIGHT if trained else 0
    if workload.training_method.trains == "scales":
        graph += (len(PROJECTIONS) * config.layers + 2 - config.tie_embeddings) * _GRAPH_BYTES_PER_SCALES
    tables = 4 * workload.T * config.head_dim * 4 * max(1, len(set(config.form.ropes)))  # of the rotary positions
    graph += tables
    if workload.training_method.optimizer is not None:
        shared = tables + config.layers * _GRAPH_BYTES_PER_SHARED_LAYER
        graph += _BACKPROP_GRAPH_BYTES + (0 if workload.by_kernel else shared)
    attention = 2 * config.layers * workload.T * config.query_size  # scores and mixed values of a token
    passed = tokens_of_a_layer(workload, config) * (counts.decoder_linears + attention)
    # For rows without results, the last layer computes only keys and values.
    of_keys_and_values = 2 * config.kv_size * config.hidden_size
    passed -= (
        (1 - workload.results / workload.T)
        * workload.forward_tokens
        * ((counts.decoder_linears + attention) / config.layers - of_keys_and_values)
    )
    return Estimate(
        weight_bytes=weights,
        program_bytes=graph,
        weights_file_bytes=weights - frozen + _list_bytes(config.layers * _constants_per_layer(setting, config)),
        adapters_file_bytes=0 if trained else frozen + _list_bytes(len(layout_of(workload, config))),
        memory_bytes=session_peak_bytes(workload, config, resident, calls),
        export_memory_bytes=max(export_peak_bytes(workload, config), reference_peak_bytes(workload, config)),
        layer_calls=calls,
        flops_per_step=2.0 * passed
        + (_FLOPS_PER_TRAINED_WEIGHT * trained_values(workload, config) if workload.training_method.noise else 0.0),
        state_bytes=_state_bytes(workload, config, weights),
    )


def _state_bytes(workload: Workload, config: LlamaConfig, weight_bytes: int) -> int:
    if workload.training_method.trains == "weights":
        return weight_bytes
    return adapter_state_bytes(workload, config) + 4 * trained_values(workload, config)


def _constants_per_layer(setting: QuantizationSetting, config: LlamaConfig) -> int:
    """Returns how many tensors a layer's vectors and projections are stored as."""
    return 2 + len(config.form.vectors) + len(PROJECTIONS) * setting.tensors_per_matrix


def _list_bytes(constants: int) -> int:
    """Returns the bytes before the constants of a data file, and between them."""
    return _LIST_BYTES + constants * _LIST_BYTES_PER_CONSTANT


KEPT_BYTES = 2 << 30
"""Decoder layers up to this size in total are kept in memory, ready to compute with, or else in their stored form."""

GROUP_BYTES = 256 << 20
"""The limit for hidden states and noise of passes that share a layer, and for one pass's widest activations."""

NOISE_ROWS = 24
"""This many rows give the noise of a loss to within a seventh (one standard deviation, 1 / sqrt(2 n))."""

UNTRAINED_STEPS = 2
"""This many of the last steps are repeated without updates, to show the updates' effect."""

_GRADIENT_PASSES = 4.0
"""The cost of backpropagation in forward passes: forward, forward again, and backward with as many products."""

ALLOWED_SECONDS = 180.0
"""The limit for the estimated time of one program's reference losses; the actual time may be twice as long."""

# On two cores of a recent x86. Sums rounded to float16 at every addition take several times as long. A value is one
# element of one activation; the cost of its product comes on top.
_FLOPS_PER_S = 1.5e11
_HALF_SUM_FLOPS_PER_S = 1.6e10
_SECONDS_PER_VALUE = 1.5e-9
_SECONDS_PER_NOISE = 1.3e-7
_DRAWS_PER_WEIGHT = (
    3  # for a reference that trains weights: their noise, the numbers that decide rounding, and the rounding
)
_SECONDS_PER_WEIGHT_READ = 3.2e-8
_SECONDS_PER_WEIGHT_DEQUANTIZED = 6e-9


def queries_at_a_time(workload: Workload, config: LlamaConfig) -> int:
    """Returns the number of queries whose noise and hidden states, with both signs, fit GROUP_BYTES."""
    hidden = 2 * workload.b * workload.T * config.hidden_size
    return max(1, GROUP_BYTES // (4 * (hidden + adapter_values(layout_of(workload, config)))))


def affordable_steps(
    workload: Workload, config: LlamaConfig, steps: int, accumulation: Accumulation = Accumulation.FP32
) -> int:
    """Returns how many of `steps` steps fit ALLOWED_SECONDS according to the estimate; possibly none."""
    fit = [
        count
        for count in range(1, steps + 1)
        if reference_seconds(workload, config, count, accumulation) <= ALLOWED_SECONDS
    ]
    return max(fit, default=0)


def reference_seconds(
    workload: Workload, config: LlamaConfig, steps: int, accumulation: Accumulation = Accumulation.FP32
) -> float:
    """Returns roughly how long `steps` steps, the noise of a loss and the check of the updates take together."""
    each = step_seconds(workload, config, accumulation)
    of_passes = each - _noise_of_weights(workload, config) * _SECONDS_PER_NOISE
    late = workload.late_steps if steps >= REFERENCE_STEPS else ()
    again = min(UNTRAINED_STEPS, steps - 1) + len(late)
    beside = _noise_passes(workload) + len(late) * _GRADIENT_PASSES
    noises = max(late, default=0) * workload.q * adapter_values(layout_of(workload, config))
    return (
        _SECONDS_PER_WEIGHT_READ * config.parameter_counts().total
        + each * (steps + again)
        + of_passes * beside / workload.training_method.forward_passes(workload.q)
        + noises * _SECONDS_PER_NOISE
    )


def _noise_passes(workload: Workload) -> int:
    """Returns the number of forward passes for the noise of a loss: two, each repeated with other roundings."""
    return 2 + 2 * -(-NOISE_ROWS // (2 * workload.b))


def step_seconds(workload: Workload, config: LlamaConfig, accumulation: Accumulation = Accumulation.FP32) -> float:
    """Returns roughly how long one step of the reference takes on two cores of a recent x86."""
    tokens = tokens_of_a_layer(workload, config)
    linears = config.parameter_counts().decoder_linears
    # Values of norms, rotary, residuals and adapters; of the gated feed-forward; of the attention scores.
    widths = 30 * config.hidden_size + 8 * config.intermediate_size + 6 * config.heads * workload.T
    values = tokens * config.layers * widths
    noise = workload.q * adapter_values(layout_of(workload, config)) + _noise_of_weights(workload, config)
    half_sums = workload.sums_vary and accumulation is Accumulation.FP16
    flops_per_s = _HALF_SUM_FLOPS_PER_S if half_sums else _FLOPS_PER_S
    arithmetic = 2.0 * tokens * linears / flops_per_s + values * _SECONDS_PER_VALUE + noise * _SECONDS_PER_NOISE
    groups = -(-workload.q // queries_at_a_time(workload, config))
    return arithmetic + groups * linears * _seconds_per_weight(workload, config)


def _noise_of_weights(workload: Workload, config: LlamaConfig) -> int:
    """Returns how many numbers a step draws for the weights or scales, for a method that trains them."""
    return _DRAWS_PER_WEIGHT * trained_values(workload, config)


def _seconds_per_weight(workload: Workload, config: LlamaConfig) -> float:
    """Returns the seconds to prepare a layer's weights again; 0 if they are kept."""
    if workload.training_method.trains == "scales":
        return 3 * _SECONDS_PER_WEIGHT_DEQUANTIZED  # with the scales of +, of -, and those that the step begins with
    linears = config.parameter_counts().decoder_linears
    if 4 * linears <= KEPT_BYTES:
        return 0.0
    stored_fits = config.layers * layer_bytes(workload.quant, config) <= KEPT_BYTES
    return _SECONDS_PER_WEIGHT_DEQUANTIZED if stored_fits else _SECONDS_PER_WEIGHT_READ
