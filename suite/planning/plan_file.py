"""Reads plan files, which `suite run --plan` and `suite nightly` measure. Errors name file, line, value and remedy.

    budget_minutes: 60                  # for each device, all plans together
    defaults: {sessions: 5}             # for every plan
    plans:
      small:
        devices: [all]                  # as for --device
        models: [smollm2-135m]
        quants: [fp32, int8]
        shapes: [{q: 4, b: 4, T: 64}, {total: 16}]    # total: each power of two q with b = total / q

Each combination of model, method and shape in a plan is one `suite.planning.plan.Plan`. Its settings are interleaved
with all others of the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from devices.inventory.inventory_file import Inventory, load_yaml
from foundation.errors import UserError
from foundation.yaml_lines import Position, YamlFile, first_problem, place_of, sentence_of
from suite.planning.plan import Fields, Plan, RunPlan, shapes_of_total
from workloads.method import METHOD_TABLE
from workloads.models.named import ZOO
from workloads.quantize.settings import DEFAULT_SETTINGS
from workloads.tasks.source import NAMED_TASKS, may_be_elsewhere, resolve_path, resolve_task, resolve_template


def _as_list(value: object) -> object:
    """Accepts `models: tiny` for `models: [tiny]`."""
    return [value] if isinstance(value, str | int | float) else value


def _as_pairs(value: object) -> object:
    """Accepts `{pos: positive}` and `pos=positive,neg=negative` for `[pos=positive, neg=negative]`."""
    if isinstance(value, dict):
        return [f"{source}={name}" for source, name in value.items()]
    return value.split(",") if isinstance(value, str) else value


Pairs = Annotated[list[StrictStr], BeforeValidator(_as_pairs)]
Names = Annotated[list[StrictStr], BeforeValidator(_as_list), Field(min_length=1)]
Number = StrictInt | StrictFloat
Layers = Annotated[StrictStr | None, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
OwnOrNumber = Annotated[Number | None, BeforeValidator(lambda value: None if value == "auto" else value)]
"""A number, or `auto` for each quantization setting's own."""

MOST_MEASUREMENTS = 50_000
"""Limit for one plan file on all devices together: a month without a pause at a minute each."""

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_switch(value: object) -> object:
    """Accepts `on` and `off`, which YAML 1.2 reads as words."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


Switch = Annotated[StrictBool | None, BeforeValidator(_as_switch)]


class Shape(_Strict):
    """Queries, rows and tokens of a step, or the total q * b instead of q and b. Defaults are those of `suite run`."""

    q: StrictInt | None = None
    b: StrictInt | None = None
    T: StrictInt = Plan.T
    total: StrictInt | None = None

    def sizes(self, method: str) -> list[dict[str, Any]]:
        """Returns q, b and T of each plan. Raises UserError for a total with q or b, or one that can't be divided."""
        if self.total is None:
            found = METHOD_TABLE.get(method)
            own = Plan.q if found is None else found.default_queries
            pairs = [(own if self.q is None else self.q, Plan.b if self.b is None else self.b)]
        elif self.q is None and self.b is None:
            pairs = shapes_of_total(self.total, method)
        else:
            raise UserError("total stands for q * b, but q or b is given too: leave out one of them.")
        return [{"q": q, "b": b, "T": self.T} for q, b in pairs]


class PlanEntry(_Strict):
    """One plan of the file. Lists are combined: each model with each method and shape."""

    devices: Names = ["all"]
    models: Names = [Plan.model]
    methods: Names = [Plan.method]
    quants: Names = list(DEFAULT_SETTINGS)
    shapes: Annotated[list[Shape], Field(min_length=1)] = [Shape()]
    rank: StrictInt = Plan.rank
    alpha: Number = Plan.alpha
    targets: Names = list(Plan.targets)
    layers: Layers = None
    noise: StrictStr = Plan.noise
    outer: Switch = None
    inner: Switch = None
    sessions: StrictInt = Plan.sessions
    steps: StrictInt = Plan.steps
    energy_window_s: Number = Plan.energy_window_s
    seed: StrictInt = Plan.seed
    lr: OwnOrNumber = Plan.lr
    eps: OwnOrNumber = Plan.eps
    task: StrictStr | None = None
    template: StrictStr | None = None
    label_map: Pairs = list(Plan.label_map)
    ignored_columns: Annotated[list[StrictStr], BeforeValidator(_as_list)] = list(Plan.ignored_columns)
    validation: StrictStr | None = None
    split: StrictStr = Plan.split
    weights: StrictStr | None = None


class _File(_Strict):
    budget_minutes: Annotated[Number, Field(gt=0)] | None = None
    defaults: dict[str, Any] = {}
    plans: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


def load_plan_file(path: Path, inventory: Inventory, *, check_inputs: bool = True) -> RunPlan:
    """Reads and expands a plan file, whose paths are relative to its folder. Raises UserError (`file:line: …`).

    Without `check_inputs`, tasks or weights that can't be read are left to the run, where only their plan fails.
    """
    return expand_plans(load_yaml(path, what="plan file"), (), inventory, check_inputs=check_inputs)


def expand_plans(
    file: YamlFile,
    at: Position,
    inventory: Inventory,
    *,
    check_inputs: bool = True,
    fixed: Fields = MappingProxyType({}),
) -> RunPlan:
    """Expands the plan file found `at` a place in another file. Raises what `load_plan_file` raises.

    `fixed` has keys that are the same for every plan and that the file can't change, such as the devices.
    """
    value = file.value
    for key in at:
        value = value[key]
    content = _validated(file, at, _File, value if value is not None else {})
    plans: list[Plan] = []
    for name, own in content.plans.items():
        entry = _Entry(file, (*at, "plans", name), (*at, "defaults"), {**own, **fixed})
        plans += _expanded(entry, content.defaults, inventory, check_inputs=check_inputs)
        _require_few(entry, sum(len(plan.devices) * len(plan.quants) for plan in plans))
    try:
        return RunPlan(tuple(plans), None if content.budget_minutes is None else float(content.budget_minutes))
    except UserError as error:
        raise file.error((*at, "plans"), str(error)) from error


@dataclass(frozen=True)
class _Entry:
    """A plan in a file: the positions of the plan and the defaults, and the plan's own values."""

    file: YamlFile
    at: Position
    defaults_at: Position
    own: Fields

    def error(self, key: str, sentence: str) -> UserError:
        """Returns an error at one of the plan's keys, or at the default's key."""
        at = (*self.at, key)
        return self.file.error(at if at in self.file.lines else (*self.defaults_at, key), sentence)


def _require_few(entry: _Entry, count: int) -> None:
    if count > MOST_MEASUREMENTS:
        sentence = f"{count} measurements are planned up to here, but the limit is {MOST_MEASUREMENTS}: name fewer."
        raise entry.file.error(entry.at, sentence)


def _expanded(entry: _Entry, defaults: Fields, inventory: Inventory, *, check_inputs: bool) -> list[Plan]:
    file = entry.file
    _validated(file, entry.defaults_at, PlanEntry, dict(defaults))
    found = _validated(file, entry.at, PlanEntry, {**defaults, **entry.own})
    try:
        devices = tuple(item.name for item in inventory.select(",".join(found.devices)))
    except UserError as error:
        raise file.error((*entry.at, "devices"), str(error)) from error
    _require_few(entry, len(devices) * len(found.models) * len(found.methods) * len(found.shapes))
    shared = found.model_dump(exclude={"devices", "models", "methods", "shapes", *_PATHS})
    lists = {key: tuple(value) for key, value in shared.items() if isinstance(value, list)}
    paths = _paths(entry, found)
    if check_inputs:
        _require_inputs(entry, paths)
    plans = []
    models = [_model(model, file.path.resolve().parent) for model in found.models]
    for index, (model, method, shape) in enumerate(product(models, found.methods, found.shapes)):
        try:
            plans += [
                Plan(devices, model=model, method=method, **sizes, **{**shared, **lists, **paths})
                for sizes in shape.sizes(method)
            ]
        except UserError as error:
            at = (*entry.at, "shapes", index % len(found.shapes)) if "shapes" in entry.own else entry.at
            raise file.error(at, str(error)) from error
    if check_inputs:
        _require_task(entry, plans[0])
    return plans


def _model(text: str, folder: Path) -> str:
    """Returns a named model's name unchanged, and a path relative to the plan file's folder."""
    path = folder / text
    return str(path) if text not in ZOO and ("/" in text or path.exists()) else text


_PATHS = {
    "task": resolve_task,
    "template": resolve_template,
    "validation": resolve_path,
    "weights": resolve_path,
}


def _paths(entry: _Entry, found: PlanEntry) -> dict[str, str | None]:
    """Returns the paths in an entry, relative to the plan file's folder."""
    folder = entry.file.path.resolve().parent
    paths: dict[str, str | None] = {}
    for key, resolve in _PATHS.items():
        value = getattr(found, key)
        try:
            paths[key] = None if value is None else resolve(value, folder)
        except UserError as error:
            raise entry.error(key, str(error)) from error
    return paths


def _require_inputs(entry: _Entry, paths: Mapping[str, str | None]) -> None:
    """Checks only that weights exist, as they may be large. The task is checked with its plan."""
    weights = paths["weights"]
    if weights is not None and not Path(weights).exists():
        raise entry.error("weights", f"the weights {weights} don't exist: name a Hugging Face folder or a GGUF file.")


def _require_task(entry: _Entry, plan: Plan) -> None:
    """Reads the task like the run will, but fetches nothing."""
    if plan.task in (None, *NAMED_TASKS) and plan.template is None and plan.validation is None:
        return
    # Imported here because it loads tensors and tokenizers, which most plans don't need, as they name no task.
    from workloads.tasks.task import open_task
    from workloads.tasks.template import load_template

    try:
        if plan.template is not None:
            load_template(plan.template)
    except UserError as error:
        raise entry.error("template", str(error)) from error
    try:
        if not may_be_elsewhere(plan.task):
            open_task(plan.task_source)
    except UserError as error:
        raise entry.error("task", str(error)) from error


def _validated(file: YamlFile, position: Position, model: type[_Model], value: object) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = first_problem(error)
        place = place_of(problem)
        known = _model_at(model, place).model_fields
        raise file.error((*position, *place), sentence_of(problem, known)) from error


def _model_at(model: type[BaseModel], position: Position) -> type[BaseModel]:
    return Shape if "shapes" in position[:-1] else model
