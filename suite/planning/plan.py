"""Defines what a run will do: which workloads on which devices, how often, with which training settings.

A run carries out a `RunPlan`: one or more plans, and a limit of the time on each device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from foundation.errors import UserError, unknown_name
from foundation.unavailable import Json
from workloads.method import METHOD_TABLE, training_method
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.named import model_config, split_model
from workloads.quantize.settings import DEFAULT_SETTINGS, QUANTIZATION_SETTINGS, QuantizationSetting
from workloads.tasks.source import BUILT_IN, SPLITS, WHOLE, TaskSource, parse_label_map
from workloads.workload import LARGEST, TrainingSettings, Workload, last_layers, require_count, some_layers

Fields = Mapping[str, Any]
"""Unchecked values of a plan, a plan file or options, by the names of fields or keys."""

BATCHES = 16
"""Different batches that a session cycles through."""

QUOTED_WINDOW_S = 60.0
"""Length of the energy window for a figure that others will quote [MLCommons, power measurement rules]."""

LONGEST_WINDOW_S = 3600.0

IDLE_SECONDS = 10.0
"""How long the idle device's power is measured, before and after a session."""

_MOST = {"sessions": 10_000, "steps": 1_000_000_000}
_FLOAT32_RANGE = (1e-37, 1e38)

_OPTIONS = (
    *(("--model", "model"), ("--method", "method"), ("-q", "q"), ("-b", "b"), ("-T", "T"), ("--rank", "rank")),
    *(("--alpha", "alpha"), ("--targets", "targets"), ("--layers", "layers"), ("--noise", "noise")),
    *(("--sessions", "sessions"), ("--steps", "steps"), ("--energy-window", "energy_window_s"), ("--seed", "seed")),
    *(("--lr", "lr"), ("--eps", "eps"), ("--outer", "outer"), ("--inner", "inner")),
    *(("--task", "task"), ("--template", "template"), ("--label-map", "label_map")),
    *(("--ignore-columns", "ignored_columns"), ("--validation", "validation"), ("--split", "split")),
    ("--weights", "weights"),
)


@dataclass(frozen=True)
class Plan:
    """A run as requested. Raises UserError for a plan that no device can carry out.

    `devices` are inventory names. `model` is a named model, or the path of a folder or file, which then becomes
    `weights`; without one, `weights` is None for the model's own. `task`, `validation`, `template`, `label_map` (as
    `pos=positive`) and `ignored_columns` make a TaskSource, of which `split` takes a part. Without `lr` or `eps`, each
    quantization setting or method has its own.

    `outer`, `inner`: whether the loops over queries and over + and - run side by side; None: the method decides.
    `lora_a`: a PEFT folder whose A the adapters have, or None for one that is drawn. Where a device's power is read,
    a session continues until it has measured for `energy_window_s`.
    """

    devices: tuple[str, ...]
    model: str = "smollm2-135m"
    quants: tuple[str, ...] = DEFAULT_SETTINGS
    method: str = "prge"
    q: int = 4
    b: int = 4
    T: int = 64
    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = PROJECTIONS
    layers: str | None = None
    noise: str = "kernel"
    sessions: int = 5
    steps: int = 10
    max_warm_up_steps: int = 10
    energy_window_s: float = 10.0
    seed: int = 7
    lr: float | None = None
    eps: float | None = None
    task: str | None = None
    template: str | None = None
    label_map: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    validation: str | None = None
    split: str = WHOLE
    weights: str | None = None
    outer: bool | None = None
    inner: bool | None = None
    lora_a: str | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        parse_label_map(self.label_map)
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)
        if not self.quants:
            raise UserError(f"No quantization setting is named: choose from {', '.join(QUANTIZATION_SETTINGS)}.")
        for quant in self.quants:
            if self.quants.count(quant) > 1:
                raise UserError(f"The setting {quant} is named {self.quants.count(quant)} times: name each once.")
        self._take_model_files()
        config = self.config
        if self.layers is not None:
            object.__setattr__(self, "layers", last_layers(self.layers, config.layers))
        for _ in self.workloads(answers=1):  # making them checks them
            pass
        config.require_length(self.T, self.model)
        if config.hidden_size < self.rank and not METHOD_TABLE[self.method].trains_weights:
            raise UserError(
                f"rank is {self.rank}, but {self.model} has {config.hidden_size} hidden features, and a higher rank "
                f"is of no use: choose a rank up to {config.hidden_size}."
            )
        if self.layers is not None:
            some_layers(self.layers, config.layers, self.model)

    def _take_model_files(self) -> None:
        """Takes a path given as the model for the weights. If weights are given too, any other word is a name."""
        if self.weights is not None and "/" not in self.model:
            return
        model, files = split_model(self.model)
        if files is not None and self.weights is not None:
            raise UserError(
                f"{self.model} is a model's files, and so are the weights {self.weights}: name one of them."
            )
        if files is not None:
            object.__setattr__(self, "model", model)
            object.__setattr__(self, "weights", str(files))

    def _check_numbers(self) -> None:
        for name, most in _MOST.items():
            require_count(name, getattr(self, name), most)
        for name in ("alpha", "eps", "lr"):
            value = getattr(self, name)
            if value is None:
                continue
            if not (value > 0 or (name == "lr" and value == 0)):
                raise UserError(f"{name} is {value:g}, but it must be a positive number: give one such as 0.001.")
            if value and not _FLOAT32_RANGE[0] <= value <= _FLOAT32_RANGE[1]:
                raise UserError(
                    f"{name} is {value:g}, but programs compute in float32, between 1e-37 and 1e38: "
                    "give one such as 0.001."
                )
        if not 0 <= self.energy_window_s <= LONGEST_WINDOW_S:
            raise UserError(
                f"energy_window_s is {self.energy_window_s:g}, but it must be between 0 and {LONGEST_WINDOW_S:g}: give "
                f"10, or {QUOTED_WINDOW_S:g} for a figure that others will quote."
            )
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"seed is {self.seed}, but it must be between 0 and 2^63 - 1: give a number in that range.")

    def workloads(self, answers: int, candidates: int = 1) -> Iterator[Workload]:
        """Yields a workload for each setting. `answers` is the length of the task's longest answer in tokens.

        `candidates`: how many answers of one token an evaluation compares in one row.
        """
        given = None if self.lora_a is None else self._digest_of_a()
        for quant in self.quants:
            yield Workload(
                model=self.model,
                quant=quant,
                q=self.q,
                b=self.b,
                T=self.T,
                rank=self.rank,
                alpha=self.alpha,
                targets=self.targets,
                layers=self.layers,
                answers=answers,
                candidates=candidates,
                method=self.method,
                noise=self.noise,
                outer_parallel=self.outer,
                inner_parallel=self.inner,
                lora_a=given,
            )

    def _digest_of_a(self) -> str:
        """Returns the digest of the given A."""
        from workloads.export.peft_folder import digest_of_a  # loads torch, which other plans don't need

        plain = next(replace(self, lora_a=None).workloads(answers=1))
        return digest_of_a(plain, self.config, Path(str(self.lora_a)))

    def training(self, setting: QuantizationSetting) -> TrainingSettings:
        """Returns a setting's learning rate and eps: the plan's, or else the method's or the setting's own."""
        own = METHOD_TABLE[self.method]
        lr = next(each for each in (self.lr, own.default_lr, setting.default_lr) if each is not None)
        eps = next(each for each in (self.eps, own.default_eps, setting.default_eps) if each is not None)
        return TrainingSettings(lr, eps, self.seed)

    def warnings(self) -> Iterator[str]:
        """Yields a sentence for each setting whose projected gradients are mostly noise at the plan's eps."""
        for workload in self.workloads(answers=1):
            setting = workload.setting
            eps = self.training(setting).eps
            poor = setting.poor_correlation(eps)
            method = workload.training_method  # products that all sum in float32 were not tried
            if poor is not None and method.noise is not None and not method.trains_weights:
                yield (
                    f"{workload.model} {setting.name} with eps {eps:g}: projected gradients are mostly noise (their "
                    f"correlation with exact ones is about {poor:.2f} on smollm2-135m): use --eps "
                    f"{setting.default_eps:g}"
                )

    @property
    def task_source(self) -> TaskSource:
        """Where the examples come from, and how they are read. Raises UserError for a malformed label map."""
        return TaskSource(
            self.task or BUILT_IN,
            validation=self.validation,
            template=self.template,
            label_map=parse_label_map(self.label_map),
            ignored_columns=self.ignored_columns,
        )

    @property
    def config(self) -> LlamaConfig:
        """The model's shape. Raises UserError for an unknown model, or files that can't be read."""
        return model_config(self.model, self.weights_path)

    @property
    def shape(self) -> str:
        """The sizes in words; a method without adapters has no rank."""
        layers = "" if self.layers is None else f" layers={self.layers}"
        rank = "" if METHOD_TABLE[self.method].trains_weights else f" rank={self.rank}{layers}"
        return f"q={self.q} b={self.b} T={self.T}{rank}"

    @property
    def weights_path(self) -> Path | None:
        return None if self.weights is None else Path(self.weights)

    def quick(self, keeping: Collection[str] = ()) -> Plan:
        """Returns a short plan: one session of three steps, without an interval. Fields in `keeping` don't change."""
        short: dict[str, Any] = {"sessions": 1, "steps": 3, "max_warm_up_steps": 3, "energy_window_s": 0.0}
        return replace(self, **{name: value for name, value in short.items() if name not in keeping})

    def arguments(self, quant: str) -> list[str]:
        """Returns the arguments of `suite run` for one setting of this plan, without defaults."""
        given = [("--quant", quant)]
        for option, name in _OPTIONS:
            value = getattr(self, name)
            if value != getattr(Plan, name):
                given.append((option, _word(value)))
        return [word for pair in given for word in pair]

    def document(self) -> dict[str, Json]:
        """Returns the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Fields) -> Plan:
        """Reads the plan from `document`. Raises UserError if another version of the suite wrote it."""
        known = {field.name for field in fields(cls)}
        if unknown := set(document) - known:
            raise UserError(
                f"The plan of this run has {', '.join(sorted(unknown))}, which this version does not know: "
                "start a new run, or resume with the version that started it."
            )
        lists = {key: tuple(value) for key, value in document.items() if isinstance(value, list)}
        return cls(**{**document, **lists})


def _word(value: object) -> str:
    """Returns a value as the command line takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(value) if isinstance(value, tuple) else f"{value}"


def shapes_of_total(total: int, method: str) -> list[tuple[int, int]]:
    """Returns (q, b) with q * b = total for each power of two q that divides the total and that the method allows.

    Raises UserError if there are none.
    """
    require_count("total", total, LARGEST["b"])
    found = METHOD_TABLE.get(method)
    powers = (1 << exponent for exponent in range(total.bit_length()))
    shapes = [(q, total // q) for q in powers if total % q == 0 and (found is None or found.allows(q))]
    if not shapes:
        raise UserError(
            f"No power of two that divides the total {total} is a number of queries for {method}: give q and b."
        )
    return shapes


def describe_workload(workload: Workload) -> dict[str, Json]:
    """Returns the workload as it is stored: the values that distinguish series, without defaults."""
    document = workload.document()
    always = ("model", "method", "quant", "backend", "q", "b", "T", "rank")
    default = Workload(workload.model, workload.quant, q=workload.q, method=workload.method).document()
    return {key: value for key, value in document.items() if key in always or value != default[key]}


def described_workload(document: Mapping[str, Json]) -> Workload:
    """Reverses `describe_workload` and ignores other keys. Raises UserError if the document is not a workload."""
    known = {field.name for field in fields(Workload)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items() if name in known
    }
    try:
        return Workload(**values)
    except TypeError as error:
        raise UserError(f"A workload can't be read ({error}): measure it again.") from error


def interleaved(count: int, ordinal: int) -> range:
    """Returns the order of `count` settings in a round: A B C D, then D C B A, so that drift affects all alike."""
    return range(count) if ordinal % 2 == 0 else range(count - 1, -1, -1)


@dataclass(frozen=True)
class RunPlan:
    """The plans of a run. `budget_minutes` limits the time on each device for all plans together; None: no limit.

    Raises UserError for plans that would measure the same workload twice on a device, or can't be trained.
    """

    plans: tuple[Plan, ...]
    budget_minutes: float | None = None

    def __post_init__(self) -> None:
        for plan in self.plans:
            training_method(plan.method)
        planned = Counter(
            (device, workload) for plan in self.plans for device in plan.devices for workload in plan.workloads(1)
        )
        for (device, workload), times in planned.items():
            if times > 1:
                shape = f"{workload.model} {workload.quant} with q={workload.q}, b={workload.b}, T={workload.T}"
                raise UserError(f"{shape} is planned {times} times on {device}: name each workload once.")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of all plans, each once, in their order."""
        return tuple(dict.fromkeys(device for plan in self.plans for device in plan.devices))

    def quick(self, keeping: Collection[str] = ()) -> RunPlan:
        """Returns short plans (`Plan.quick`)."""
        return RunPlan(tuple(plan.quick(keeping) for plan in self.plans), self.budget_minutes)

    def document(self) -> dict[str, Json]:
        """Returns the run plan as JSON values."""
        return {"plans": [plan.document() for plan in self.plans], "budget_minutes": self.budget_minutes}

    @classmethod
    def from_document(cls, document: Fields) -> RunPlan:
        """Reads the run plan from `document`. Raises UserError if another version of the suite wrote it."""
        if set(document) != {"plans", "budget_minutes"}:
            raise UserError("The plan of this run was written by another version of the suite: start a new run.")
        return cls(tuple(Plan.from_document(plan) for plan in document["plans"]), document["budget_minutes"])
