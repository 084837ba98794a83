"""The plan file of an experiment: its question, and what is measured for it, in full and in the quick version.

question: How much faster do loops that run side by side make a step?
full:
  minutes: 40                 # about, on the machine of docs/experiments.md
  parts:
    loops: {measure: {plans: ...}}          # as in a plan file (docs/nightly.md), devices left out
    curves: {train: {contenders: [...], seeds: 3, steps: 400, ...}}      # as `suite race` takes them
    where: {profile: {quants: [fp32], steps: 10, ...}}
quick: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices.inventory.inventory_file import Inventory
from foundation.yaml_lines import Position, YamlFile, first_problem, place_of, read_yaml, sentence_of
from suite.planning.plan import Plan, RunPlan
from suite.planning.plan_file import expand_plans
from suite.training.plan import TrainingPlan
from suite.training.race_plans import plans_of_contenders


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Training(_Strict):
    contenders: list[str]
    seeds: Annotated[int, Field(ge=1)] = 3
    options: dict[str, Any] = {}


class _Part(_Strict):
    """One of the four; `own` is what the experiment's own code reads."""

    measure: dict[str, Any] | None = None
    train: _Training | None = None
    profile: dict[str, Any] | None = None
    own: dict[str, Any] | None = None


class _Version(_Strict):
    minutes: Annotated[float, Field(gt=0)]
    parts: Annotated[dict[str, _Part], Field(min_length=1)]


class _File(_Strict):
    question: str
    full: _Version
    quick: _Version


@dataclass(frozen=True)
class PlannedExperiment:
    """A plan file in one of its two versions."""

    name: str
    file: YamlFile
    version: str
    question: str
    minutes: float
    parts: Mapping[str, _Part]

    def _place(self, part: str, kind: str) -> Position:
        return (self.version, "parts", part, kind)

    def run_plan(self, part: str, devices: tuple[str, ...], model: str | None, inventory: Inventory) -> RunPlan:
        """Returns what a part measures, on these devices, and of this model if one is given. Raises UserError."""
        fixed = {"devices": list(devices)} | ({} if model is None else {"models": [model]})
        return expand_plans(self.file, self._place(part, "measure"), inventory, fixed=fixed)

    def training_plans(self, part: str, devices: tuple[str, ...], model: str | None) -> list[TrainingPlan]:
        """Returns the trainings of a part, likewise. Raises UserError."""
        found = self.parts[part].train or _Training(contenders=[])
        options = {**found.options} | ({} if model is None else {"model": model})
        own = {name: options.pop(name) for name in _TRAINING if name in options}
        settings = {"q": None, **options}
        return plans_of_contenders(devices, found.contenders, found.seeds, settings, own)

    def profile_plan(self, part: str, device: str, model: str | None) -> Plan:
        """Returns what a part profiles on a device, likewise. Raises UserError."""
        values = {**(self.parts[part].profile or {})} | ({} if model is None else {"model": model})
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Plan((device,), **{**values, **lists})


_TRAINING = {each.name for each in fields(TrainingPlan)} - {"plan"}


def read_plan(path: Path, *, quick: bool) -> PlannedExperiment:
    """Reads the plan file of an experiment. Raises UserError (`file:line: ...`)."""
    file = read_yaml(path, what="plan of an experiment")
    try:
        found = _File.model_validate(file.value)
    except ValidationError as error:
        problem = first_problem(error)
        raise file.error(place_of(problem), sentence_of(problem, _File.model_fields)) from error
    version = found.quick if quick else found.full
    name = "quick" if quick else "full"
    return PlannedExperiment(path.stem, file, name, found.question, version.minutes, version.parts)
