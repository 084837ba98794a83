"""The quantization settings: everything that differs between them, in one table, without torch (slow to import).

A setting defines how the frozen weights are stored and the type of their products' operands. Hidden states, norms,
softmax, sums of products in the runner's kernels, the trained adapter, noise and losses are float32 in every setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from foundation.errors import UserError
from workloads.models.config import LlamaConfig

_MIB = 1 << 20

ScaleBytes = Callable[[int, int], int]
"""Bytes of the scales of a matrix [rows, columns]."""


def _no_scales(rows: int, columns: int) -> int:
    del rows, columns
    return 0


def _scale_of_row(rows: int, columns: int) -> int:
    del columns
    return 4 * rows


def _scale_of_group(rows: int, columns: int) -> int:
    return 2 * rows * -(-columns // 32)


def _scale_of_block(rows: int, columns: int) -> int:
    return 4 * -(-rows * columns // 64)


def _scale_of_scales(rows: int, columns: int) -> int:
    blocks = -(-rows * columns // 64)
    return blocks + 4 * -(-blocks // 256) + 4


ROWS_PER_CHUNK = 512
"""The fewest rows that a layer works on at a time: enough to make reading its weights relatively cheap."""

ROWS_PER_SMALL_CHUNK = 256
"""The same if activations are large compared with weights: float32 with weights of 8 bits or fewer."""


REFERENCE_STEPS = 3
"""The first steps of a session are compared with the eager reference. Two of three follow an update."""

LATE_STEPS = (8, 9, 10, 11)

LEAST_CORRELATION = 0.7
"""Below this, more than half of a projected gradient's variance is not the gradient's (1 - .7 squared)."""


@dataclass(frozen=True)
class Costs:
    """What a program costs in addition to its weights and activations, by what computes its layers.

    Export in seconds: in total, for each layer, for each call of a layer. On the device in bytes: the runner with its
    libraries and its threads' buffers; operators and graph of a layer's delegate. In the program's file: bytes of a
    call's instructions and tensors, and of the graph of a layer's delegate.
    """

    export_seconds: float
    export_seconds_per_layer: float
    export_seconds_per_call: float
    runner_bytes: float
    bytes_per_layer: float
    graph_bytes_per_call: int
    graph_bytes_per_delegate: int


BY_KERNEL = Costs(1.0, 0.1, 0.1, 5.0 * _MIB, 0.0, 2_400, 0)
"""The runner's kernels don't use XNNPACK."""


def _by_delegate(bytes_per_layer: float, graph_bytes: int) -> Costs:
    return Costs(6.0, 0.3, 0.05, 6.6 * _MIB, bytes_per_layer, 1_600, graph_bytes)


class UnsupportedRows(UserError):  # noqa: N818 - a property of the model, not a fault
    """A model's rows can't be stored in the form of a setting, on whatever device."""


@dataclass(frozen=True)
class QuantizationSetting:
    """One setting."""

    name: str
    bits: float
    """Bytes of a stored weight."""
    costs: Costs
    flops_per_s: float
    """Of products, on two cores of a recent x86 (README.md has the steps they were taken from); those of bf16, int8 and
    nf4-double are nf4's and that of 8da4w is int8-dynamic's, as the same code computes them.
    """
    scale_bytes: ScaleBytes = _no_scales
    largest_code: int = 1
    """The largest magnitude that a scale multiplies."""
    scale_tensors: int = 1
    """The number of tensors that store the scales of a matrix, if it has any."""
    products: str = "float32"
    """The type of products' operands: dequantized weights, A, B and activations."""
    kernel: bool = False
    """Whether the runner's own kernels compute the layers, instead of XNNPACK's delegates."""
    row_multiple: int = 1
    """A matrix's row must have a multiple of this many values."""
    embedding: str | None = None
    """The setting in whose form the embedding is stored, if it differs from the head's."""
    rows_per_chunk: int = ROWS_PER_CHUNK
    panel: int = 16
    """Rows of the panels in which XNNPACK packs a matrix; smaller matrices, such as A, are padded."""
    jitter: float = 1e-6
    """Relative difference of another correct implementation at the input of a layer (Reference.loss_noise)."""
    late_steps: tuple[int, ...] = ()
    """The steps that show the effect of updates, if the noise of a loss may be as large as the effect of one or two.

    They are the last of the twelve that a session has by default at least.
    """
    correlations: Mapping[float, float] = field(default_factory=dict)
    """The correlation of projected gradients with the exact derivative of the model with these weights, by eps,
    measured on smollm2-135m (docs/measuring.md). It shows what the arithmetic preserves of the gradient. For fp16 with
    sums in float16.
    """
    default_lr: float = 1e-3
    default_eps: float = 1e-2
    """A perturbation at which the setting's projected gradients are good."""

    @property
    def operand_bytes(self) -> int:
        """Bytes of a product's operand."""
        return 4 if self.products == "float32" else 2

    @property
    def is_plain(self) -> bool:
        """Whether torch's own modules contain the weights, in the type of products."""
        return self.bits >= 16 and not self.kernel

    @property
    def sums_vary(self) -> bool:
        """Whether the type in which products are summed depends on the device's processor."""
        return self.products == "float16"

    def multiplies_head(self, noise: str) -> bool:
        """Returns whether the runner's kernel multiplies the head, instead of a delegate.

        This includes fp16's head, for sums in float32, unless the program is for a runtime without our kernels.
        """
        return self.kernel or (self.products == "float16" and noise == "kernel")

    def poor_correlation(self, eps: float) -> float | None:
        """Returns the correlation to expect (that measured at the nearest eps) if it is below LEAST_CORRELATION, else
        None.

        Outside the measured range the error of a projected gradient grows: below it as 1 / eps, as a loss's noise
        doesn't change, and above it as eps squared, the next term of the loss's series.
        """
        if not self.correlations:
            return None
        nearest = min(self.correlations, key=lambda seen: abs(math.log(eps / seen)))
        found = self.correlations[nearest]
        growth = max(1.0, min(self.correlations) / eps, (eps / max(self.correlations)) ** 2)
        if growth > 1.0 and found > 0.0:
            found = 1.0 / math.sqrt(1.0 + growth**2 * (1.0 / found**2 - 1.0))
        return found if found < LEAST_CORRELATION else None

    def require_rows(self, config: LlamaConfig) -> None:
        """Raises UnsupportedRows if a model's rows can't be stored in this form."""
        for name, (_, width) in config.linear_shapes().items():
            if width % self.row_multiple:
                raise UnsupportedRows(
                    f"{self.name} stores rows in groups of {self.row_multiple} values, but those of {name} have "
                    f"{width}: choose another setting for this model."
                )

    @property
    def tensors_per_matrix(self) -> int:
        """The codes or values of a matrix, and its scales."""
        return 1 + (0 if self.scale_bytes is _no_scales else self.scale_tensors)

    def matrix_bytes(self, rows: int, columns: int) -> int:
        """Returns the bytes of a frozen matrix with its scales."""
        return round(rows * columns * self.bits / 8) + self.scale_bytes(rows, columns)


_SETTINGS = (
    QuantizationSetting("fp32", 32, _by_delegate(0.23 * _MIB, 13_000), 3.2e11),
    QuantizationSetting(
        "fp16",
        16,
        _by_delegate(0.27 * _MIB, 14_500),
        2.4e11,
        products="float16",
        panel=32,
        jitter=3e-5,
        correlations={1e-2: 0.985, 3e-3: 0.884, 1e-3: 0.625},
    ),
    QuantizationSetting(
        "bf16",
        16,
        BY_KERNEL,
        3.2e11,
        products="bfloat16",
        kernel=True,
        jitter=3e-5,
        correlations={1e-1: 0.87, 3e-2: 1.0, 1e-2: 1.0, 3e-3: 0.97, 1e-3: 0.70},
    ),
    QuantizationSetting(
        "int8",
        8,
        BY_KERNEL,
        3.2e11,
        _scale_of_row,
        largest_code=127,
        kernel=True,
        rows_per_chunk=ROWS_PER_SMALL_CHUNK,
        correlations={1e-1: 0.88, 3e-2: 1.0, 1e-2: 1.0, 3e-3: 1.0, 1e-3: 1.0},
    ),
    QuantizationSetting(
        "int8-dynamic",
        8,
        _by_delegate(0.30 * _MIB, 13_500),
        8.0e11,
        _scale_of_row,
        rows_per_chunk=ROWS_PER_SMALL_CHUNK,
        jitter=1e-4,
        late_steps=LATE_STEPS,
        correlations={1e-1: 0.85, 3e-2: 0.91, 1e-2: 0.59, 3e-3: 0.26, 1e-3: -0.02},
        default_eps=3e-2,
    ),
    QuantizationSetting(
        "8da4w",
        4,
        _by_delegate(0.30 * _MIB, 13_500),
        8.0e11,
        _scale_of_group,
        row_multiple=32,
        embedding="int8",
        rows_per_chunk=ROWS_PER_SMALL_CHUNK,
        jitter=1e-4,
        late_steps=LATE_STEPS,
        correlations={1e-1: 0.82, 3e-2: 0.87, 1e-2: 0.59, 3e-3: 0.20, 1e-3: 0.04},
        default_eps=3e-2,
    ),
    QuantizationSetting(
        "nf4",
        4,
        BY_KERNEL,
        3.2e11,
        _scale_of_block,
        kernel=True,
        row_multiple=2,
        rows_per_chunk=ROWS_PER_SMALL_CHUNK,
        correlations={1e-1: 0.88, 3e-2: 1.0, 1e-2: 1.0, 3e-3: 1.0, 1e-3: 1.0},
    ),
    QuantizationSetting(
        "nf4-double",
        4,
        BY_KERNEL,
        3.2e11,
        _scale_of_scales,
        scale_tensors=3,
        kernel=True,
        row_multiple=2,
        rows_per_chunk=ROWS_PER_SMALL_CHUNK,
        correlations={1e-1: 0.87, 3e-2: 1.0, 1e-2: 1.0, 3e-3: 1.0, 1e-3: 1.0},
    ),
)

SETTINGS = {setting.name: setting for setting in _SETTINGS}
"""By name, from the widest weights to the narrowest."""

QUANTIZATION_SETTINGS = tuple(SETTINGS)

DEFAULT_SETTINGS = ("fp32", "fp16", "int8", "nf4")
"""The settings that a run measures by default: those of the MobiZO paper."""
