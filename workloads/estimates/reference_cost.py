"""Predicts the cost of the eager reference: how many of its steps a run can afford.

The reference works on the host, one query and one sign at a time: for the largest shapes that fit a device, a step
takes hours.
"""

from __future__ import annotations

from workloads.estimates.session_memory import layer_bytes, trained_values
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.config import LlamaConfig
from workloads.quantize.settings import REFERENCE_STEPS
from workloads.workload import Workload, adapter_values, layout_of, tokens_of_a_layer

KEPT_BYTES = 2 << 30
"""Decoder layers up to this size are kept in memory, ready to compute with or else as the setting stores them."""

GROUP_BYTES = 256 << 20
"""Hidden states and noise of the passes that go through a layer together; the widest activations of one of them."""

NOISE_ROWS = 24
"""This many rows give the noise of a loss to within a seventh (one standard deviation, 1 / sqrt(2 n))."""

UNTRAINED_STEPS = 2
"""This many of the last steps are repeated without updates, to see the updates' effect."""

_GRADIENT_PASSES = 4.0
"""Forward passes that backpropagation takes as long as: forward, again, and back with as many products."""

ALLOWED_SECONDS = 180.0
"""The limit for one program's reference losses, as estimated; by the clock, twice as much is allowed."""

# On two cores of a recent x86. Sums rounded to float16 at every addition take several times as long. A value is one
# element of one activation; the cost of its product comes on top.
_FLOPS_PER_S = 1.5e11
_HALF_SUM_FLOPS_PER_S = 1.6e10
_SECONDS_PER_VALUE = 1.5e-9
_SECONDS_PER_NOISE = 1.3e-7
_DRAWS_PER_WEIGHT = 3  # of a reference that trains weights: their noise, how they are rounded, and the rounding
_SECONDS_PER_WEIGHT_READ = 3.2e-8
_SECONDS_PER_WEIGHT_DEQUANTIZED = 6e-9


def queries_at_a_time(workload: Workload, config: LlamaConfig) -> int:
    """Returns for how many queries hidden states, of both signs, and noise fit GROUP_BYTES."""
    hidden = 2 * workload.b * workload.T * config.hidden_size
    return max(1, GROUP_BYTES // (4 * (hidden + adapter_values(layout_of(workload, config)))))


def affordable_steps(
    workload: Workload, config: LlamaConfig, steps: int, accumulation: Accumulation = Accumulation.FP32
) -> int:
    """Returns how many of `steps` steps fit ALLOWED_SECONDS, as estimated; possibly none."""
    fit = [
        count
        for count in range(1, steps + 1)
        if reference_seconds(workload, config, count, accumulation) <= ALLOWED_SECONDS
    ]
    return max(fit, default=0)


def reference_seconds(
    workload: Workload, config: LlamaConfig, steps: int, accumulation: Accumulation = Accumulation.FP32
) -> float:
    """Returns roughly how long `steps` steps, the noise of a loss, and what shows the updates take together."""
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
    """Returns the numbers that are drawn for the weights, or their scales, in a step of a method that trains them."""
    return _DRAWS_PER_WEIGHT * trained_values(workload, config)


def _seconds_per_weight(workload: Workload, config: LlamaConfig) -> float:
    """Returns the seconds to prepare a layer's weights again: none where they are kept."""
    if workload.training_method.trains == "scales":
        return 3 * _SECONDS_PER_WEIGHT_DEQUANTIZED  # with the scales of +, of -, and those that the step begins with
    linears = config.parameter_counts().decoder_linears
    if 4 * linears <= KEPT_BYTES:
        return 0.0
    stored_fits = config.layers * layer_bytes(workload.quant, config) <= KEPT_BYTES
    return _SECONDS_PER_WEIGHT_DEQUANTIZED if stored_fits else _SECONDS_PER_WEIGHT_READ
