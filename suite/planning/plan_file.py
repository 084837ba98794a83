"""A plan file: what `suite run --plan` and `suite nightly` measure. Every error names file, line, value and what to do.

    budget_minutes: 60                  # of each device, all plans together
    defaults: {sessions: 5}             # for every plan
    plans:
      small:
        devices: [all]                  # as after --device
        models: [smollm2-135m]
        quants: [fp32, int8]
        shapes: [{q: 4, b: 4, T: 64}, {q: 16, b: 1, T: 64}]

Each model of a plan in each method and shape is one `suite.planning.plan.Plan`; its settings are interleaved with all
others of the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from devices.inventory.reading import Inventory, load_yaml
from foundation.errors import UserError
from foundation.validation import first_problem, place_of, sentence_of
from foundation.yaml_lines import Position, YamlFile
from suite.planning.plan import Plan, RunPlan
from workloads.quantize.settings import DEFAULT_SETTINGS


def _as_list(value: object) -> object:
    """Accepts `models: tiny` for `models: [tiny]`."""
    return [value] if isinstance(value, str | int | float) else value


Names = Annotated[list[StrictStr], BeforeValidator(_as_list), Field(min_length=1)]
Number = StrictInt | StrictFloat
OwnOrNumber = Annotated[Number | None, BeforeValidator(lambda value: None if value == "auto" else value)]
"""A number, or `auto` for that of each quantization setting."""

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(_Strict):
    """Queries, rows and tokens of a step; defaults are those of `suite run`."""

    q: StrictInt = Plan.q
    b: StrictInt = Plan.b
    T: StrictInt = Plan.T


class PlanEntry(_Strict):
    """One plan of the file. Lists multiply: each model in each method and shape."""

    devices: Names = ["all"]
    models: Names = [Plan.model]
    methods: Names = [Plan.method]
    quants: Names = list(DEFAULT_SETTINGS)
    shapes: Annotated[list[Shape], Field(min_length=1)] = [Shape()]
    rank: StrictInt = Plan.rank
    alpha: Number = Plan.alpha
    targets: Names = list(Plan.targets)
    noise: StrictStr = Plan.noise
    sessions: StrictInt = Plan.sessions
    steps: StrictInt = Plan.steps
    seed: StrictInt = Plan.seed
    lr: OwnOrNumber = Plan.lr
    eps: OwnOrNumber = Plan.eps
    task: StrictStr | None = None
    weights: StrictStr | None = None


class _File(_Strict):
    budget_minutes: Annotated[Number, Field(gt=0)] | None = None
    defaults: dict[str, Any] = {}
    plans: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


def load_plan_file(path: Path, inventory: Inventory) -> RunPlan:
    """Reads and expands a plan file; its paths are relative to its folder. Raises UserError (`file:line: …`)."""
    file = load_yaml(path, what="plan file")
    content = _validated(file, (), _File, file.value if file.value is not None else {})
    plans = [
        plan
        for name in content.plans
        for plan in _expanded(file, name, content.defaults, content.plans[name], inventory)
    ]
    try:
        return RunPlan(tuple(plans), None if content.budget_minutes is None else float(content.budget_minutes))
    except UserError as error:
        raise file.error(("plans",), str(error)) from error


def _expanded(
    file: YamlFile, name: str, defaults: Mapping[str, Any], own: Mapping[str, Any], inventory: Inventory
) -> list[Plan]:
    _validated(file, ("defaults",), PlanEntry, dict(defaults))
    position = ("plans", name)
    entry = _validated(file, position, PlanEntry, {**defaults, **own})
    try:
        devices = tuple(item.name for item in inventory.select(",".join(entry.devices)))
    except UserError as error:
        raise file.error((*position, "devices"), str(error)) from error
    shared = entry.model_dump(exclude={"devices", "models", "methods", "shapes", "task", "weights"})
    lists = {key: tuple(value) for key, value in shared.items() if isinstance(value, list)}
    paths = {key: _absolute(file.path, getattr(entry, key)) for key in ("task", "weights")}
    _require_inputs(file, paths, name)
    plans = []
    for index, (model, method, shape) in enumerate(product(entry.models, entry.methods, entry.shapes)):
        try:
            plans.append(
                Plan(devices, model=model, method=method, **shape.model_dump(), **{**shared, **lists, **paths})
            )
        except UserError as error:
            at = (*position, "shapes", index % len(entry.shapes)) if "shapes" in own else position
            raise file.error(at, str(error)) from error
    return plans


def _absolute(plan_file: Path, path: str | None) -> str | None:
    return None if path is None else str(plan_file.resolve().parent / Path(path).expanduser())


def _require_inputs(file: YamlFile, paths: Mapping[str, str | None], name: str) -> None:
    """Reads the task as the run will; only checks that weights, which may be large, exist."""
    for key, path in paths.items():
        if path is None:
            continue
        at = ("plans", name, key) if ("plans", name, key) in file.lines else ("defaults", key)
        if key == "weights" and not Path(path).exists():
            raise file.error(at, f"the weights {path} don't exist: name a Hugging Face folder or a GGUF file.")
        if key == "task":
            try:
                _require_task(Path(path))
            except UserError as error:
                raise file.error(at, str(error)) from error


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


def _require_task(path: Path) -> None:
    # Imported here because it loads tensors and tokenizers, and most plans name no task.
    from workloads.tasks.task import read_task

    read_task(path)
