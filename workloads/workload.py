"""What is measured: model x method x quantization setting x backend x shape; its training and its adapter."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from workloads.method import METHOD_TABLE, Method
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.quantize.settings import (
    BY_KERNEL,
    QUANTIZATION_SETTINGS,
    REFERENCE_STEPS,
    SETTINGS,
    Costs,
    QuantizationSetting,
)


@dataclass(frozen=True)
class TrainingSettings:
    """A program's inputs other than the batches: learning rate, perturbation size, and the seed of the noise."""

    lr: float = 1e-3
    eps: float = 1e-2
    seed: int = 7


EXPORTER_VERSION = 11
"""Part of an artifact's hash: to be raised whenever the same workload gives a different program."""

BACKENDS = ("xnnpack",)
NOISES = ("kernel", "stock")

LARGEST = {
    **{"q": 1 << 16, "b": 1 << 20, "T": 1 << 20, "rank": 1 << 20, "answers": 1 << 20, "candidates": 1 << 10},
}
"""Larger numbers are typos; even estimating them would take long."""

_OF_ADAPTERS = ("rank", "alpha", "targets", "layers", "adapter_seed", "lora_a")


@dataclass(frozen=True)
class Workload:
    """One program's settings: q queries, b rows of T tokens, adapters of a given rank.

    `noise` is where the perturbations come from: the runner's `kernel`, or `stock` operators for a runtime without it.
    `answers` is K, the number of positions that predict a label; an evaluation may have several `candidates` of one
    token instead. `targets` are sorted in the model's order, so that their given order doesn't matter. `layers`: those
    that have adapters, such as 15-24, counted from 0; None: all. Without adapters, their settings are reset, as they
    make no difference to the program. `lora_a`: the digest of a given A that replaces the drawn one
    (workloads/methods/adapter.py). `outer_parallel` and `inner_parallel`: whether the loop over queries and that over +
    and - run side by side; None is replaced at once by the method's default.
    """

    model: str
    quant: str
    q: int = 4
    b: int = 4
    T: int = 64
    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = PROJECTIONS
    layers: str | None = None
    answers: int = 1
    candidates: int = 1
    method: str = "prge"
    backend: str = "xnnpack"
    noise: str = "kernel"
    outer_parallel: bool | None = None
    inner_parallel: bool | None = None
    adapter_seed: int = 0
    lora_a: str | None = None

    def __post_init__(self) -> None:
        _known("quantization setting", self.quant, QUANTIZATION_SETTINGS)
        _known("method", self.method, METHOD_TABLE)
        _known("backend", self.backend, BACKENDS)
        _known("noise", self.noise, NOISES)
        for target in self.targets:
            _known("target module", target, PROJECTIONS)
        self._check_sizes()
        self.training_method.require_queries(self.q)
        self.training_method.require_setting(self.quant)
        self._check_targets()
        outer, inner = self.training_method.loops(self.outer_parallel, self.inner_parallel)
        object.__setattr__(self, "outer_parallel", outer)
        object.__setattr__(self, "inner_parallel", inner)
        object.__setattr__(self, "targets", tuple(name for name in PROJECTIONS if name in self.targets))
        if self.training_method.trains_weights:
            for name in _OF_ADAPTERS:
                object.__setattr__(self, name, getattr(Workload, name))
        if self.answers > self.T:
            raise UserError(
                f"The answers need {self.answers} positions, but T is {self.T}: raise T to {self.answers} or more."
            )
        if self.noise == "stock" and self.training_method.noise is None:
            raise UserError(f"{self.method} has no noise, but noise is `stock`: leave it out.")
        if self.noise == "stock" and not self.training_method.stock:
            raise UserError(
                f"{self.method} needs operators of the runner, but noise is `stock`: choose noise `kernel`, or the "
                "method prge."
            )
        if self.noise == "stock" and self.setting.kernel:
            others = ", ".join(name for name, each in SETTINGS.items() if not each.kernel)
            raise UserError(
                f"{self.quant} needs the runner's kernel for its products, so it can't run elsewhere even with noise "
                f"`stock`: choose noise `kernel`, or one of {others}."
            )

    def _check_sizes(self) -> None:
        for name, largest in LARGEST.items():
            require_count(name, getattr(self, name), largest)
        if self.layers is not None:
            layer_range(self.layers)

    def _check_targets(self) -> None:
        if not self.targets:
            raise UserError(
                "No target module is named, but an adapter needs one: choose from " + ", ".join(PROJECTIONS)
            )
        for target in self.targets:
            if self.targets.count(target) > 1:
                raise UserError(
                    f"The target module {target} is named {self.targets.count(target)} times: name each once."
                )

    @property
    def setting(self) -> QuantizationSetting:
        """Its quantization setting."""
        return SETTINGS[self.quant]

    @property
    def reference_steps(self) -> int:
        """How many steps of a session are compared with the eager reference."""
        return max(REFERENCE_STEPS, self.training_method.reference_steps)

    @property
    def late_steps(self) -> tuple[int, ...]:
        """The setting's late steps, if each step's projected gradients alone determine how it moves the adapter."""
        return self.setting.late_steps if self.training_method.moves_by_each_step else ()

    @property
    def training_method(self) -> Method:
        """Its method."""
        return METHOD_TABLE[self.method]

    @property
    def by_kernel(self) -> bool:
        """Whether the runner's own kernels compute the layers, instead of XNNPACK's delegates."""
        return self.setting.kernel or self.training_method.trains_weights or self._goes_back_in_half

    @property
    def _goes_back_in_half(self) -> bool:
        """Whether its backward pass has float16 weights, for which no delegate sums in float32."""
        return self.training_method.optimizer is not None and self.setting.products == "float16"

    @property
    def products(self) -> str:
        """The type of products' operands: if kernels compute with float16 weights, the other operands are float32."""
        return "float32" if self.by_kernel and self.setting.products == "float16" else self.setting.products

    @property
    def costs(self) -> Costs:
        """What its program costs besides weights and activations."""
        return BY_KERNEL if self.by_kernel else self.setting.costs

    @property
    def sums_vary(self) -> bool:
        """Whether the type in which products are summed depends on the device's processor."""
        return self.setting.sums_vary and not self.by_kernel

    @property
    def results(self) -> int:
        """How many rows at the end of a sequence the last layer computes: those of the answers, or all.

        All if a step has a backward pass, or if the answers are most of the rows: the saving would then be small
        compared with the memory it takes.
        """
        all_rows = self.training_method.optimizer is not None or 2 * self.answers > self.T
        return self.T if all_rows else self.answers

    @property
    def forward_tokens(self) -> float:
        """The cost of a step, in tokens that pass forward through the layers with adapters."""
        return self.training_method.forward_passes(self.q) * self.b * self.T

    def document(self) -> dict[str, Any]:
        """Returns all settings as JSON values."""
        return asdict(self) | {"targets": list(self.targets)}


_LAYERS = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")


def layer_range(text: str) -> range:
    """Returns the layers of `15-24`, or `15` for a single one. Raises UserError for any other text."""
    found = _LAYERS.fullmatch(text)
    if found is None:
        raise UserError(
            f"layers is {printable(text, 80)!r}, but it must be a range such as 15-24, counted from 0, or last-8."
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UserError(f"layers is {text}, which ends before it starts: write {last}-{first}.")
    return range(first, last + 1)


_LAST = re.compile(r"last-([1-9][0-9]{0,6})")


def last_layers(text: str, count: int) -> str | None:
    """Returns `last-8` for a model of `count` layers as a range, None if that is all; any other text unchanged."""
    found = _LAST.fullmatch(text)
    if found is None:
        return text
    first = count - int(found[1])
    if first <= 0:
        return None
    return f"{first}-{count - 1}" if first < count - 1 else f"{first}"


def some_layers(text: str, count: int, model: str = "the model") -> range:
    """Returns the layers of `layer_range`. Raises UserError unless they are some but not all of `count` layers, as None
    already means all.
    """
    found, has = layer_range(text), f"{model} has layers 0 to {count - 1}"
    if found.stop > count:
        raise UserError(f"layers is {text}, but {has}: choose some of them, or leave it out for all of them.")
    if len(found) == count:
        raise UserError(f"layers is {text}, but {has}, so that is all: leave it out to give all of them adapters.")
    return found


def require_count(name: str, value: int, largest: int) -> None:
    """Raises `UserError` unless `value`, which the user calls `name`, is from 1 to `largest`."""
    if value < 1:
        raise UserError(f"{name} is {value}, but it must be at least 1: give a positive number.")
    if value > largest:
        raise UserError(f"{name} is above {largest}, the largest allowed value: give a smaller number.")


def _known(what: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise unknown_name(what, value, allowed)


@dataclass(frozen=True)
class LoraSettings:
    """Rank, scale (alpha / rank), and which projections of which layers (None: of all) get an adapter."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = PROJECTIONS
    layers: str | None = None


@dataclass(frozen=True)
class AdapterSlot:
    """The place of one projection's B [rank, features] in the flat adapter."""

    layer: int
    projection: str
    offset: int
    rank: int
    features: int

    @property
    def size(self) -> int:
        return self.rank * self.features


def adapter_layout(config: LlamaConfig, lora: LoraSettings) -> tuple[AdapterSlot, ...]:
    """Returns the slots of all adapters, layer by layer, without gaps.

    Raises UserError if adapters are requested for layers that the model does not have.
    """
    adapted = range(config.layers) if lora.layers is None else some_layers(lora.layers, config.layers)
    slots: list[AdapterSlot] = []
    offset = 0
    for layer in adapted:
        for projection in (name for name in PROJECTIONS if name in lora.targets):
            features, _ = config.projection_shape(projection)
            slots.append(AdapterSlot(layer, projection, offset, lora.rank, features))
            offset += slots[-1].size
    return tuple(slots)


def adapter_values(layout: Sequence[AdapterSlot]) -> int:
    """Returns the number of the adapters' trained values; 0 without adapters."""
    return layout[-1].offset + layout[-1].size if layout else 0


def lora_settings(workload: Workload) -> LoraSettings:
    """Returns a workload's adapter settings."""
    return LoraSettings(workload.rank, workload.alpha, workload.targets, workload.layers)


def layout_of(workload: Workload, config: LlamaConfig) -> tuple[AdapterSlot, ...]:
    """Returns the place of each projection's B in this workload's flat adapter; empty without adapters."""
    if workload.training_method.trains_weights:
        return ()
    return adapter_layout(config, lora_settings(workload))


def layers_below_adapters(layout: Sequence[AdapterSlot]) -> int:
    """Returns how many layers are below the first adapter; their results are the same for each perturbation."""
    return layout[0].layer if layout else 0


def layers_above_adapters(layout: Sequence[AdapterSlot], config: LlamaConfig) -> int:
    """Returns how many layers are above the last adapter."""
    return config.layers - 1 - layout[-1].layer if layout else 0


def tokens_of_a_layer(workload: Workload, config: LlamaConfig) -> float:
    """Returns the tokens that pass through a layer in a step, on average; below the adapters the batch passes once."""
    layout = layout_of(workload, config)
    below = layers_below_adapters(layout)
    return (below * workload.b * workload.T + (config.layers - below) * workload.forward_tokens) / config.layers
