"""Reads the plan file of an experiment: its question, and what to measure, in the full and the quick version.

question: How much faster do loops that run side by side make a step?
full:
  minutes: 40                 # an estimate, which docs/experiments.md has too
  parts:
    loops: {measure: {plans: ...}}          # as in a plan file (docs/nightly.md), devices left out
    curves: {train: {contenders: [...], seeds: 3, options: {steps: 400, ...}}}      # as `suite race` takes them
    equal: {train: {contenders: [...], forward_tokens: 98304, evaluations: 4, options: ...}}     # steps follow
    domain: {train: {of_user: true, contenders: [...], ...}}      # on the user's task; left out without one
    where: {profile: {quants: [fp32], steps: 10, ...}}
    noise: {own: {...}}                     # values for the experiment's module
quick: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from foundation.yaml_lines import Position, YamlFile, first_problem, place_of, read_yaml, sentence_of
from suite.planning.plan import Fields, Plan, RunPlan
from suite.planning.plan_file import expand_plans
from suite.training.plan import TrainingPlan
from suite.training.race_plans import plans_of_contenders


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Training(_Strict):
    """Trainings of contenders.

    `forward_tokens`: the cost of each contender's steps together, in tokens of forward passes. Each contender is then
    evaluated `evaluations` times after its start. `of_user`: on the task that the user names.
    """

    contenders: list[str]
    seeds: Annotated[int, Field(ge=1)] = 3
    options: Fields = {}
    forward_tokens: Annotated[int, Field(ge=1)] | None = None
    evaluations: Annotated[int, Field(ge=1)] = 1
    of_user: bool = False


class _Part(_Strict):
    """A part: exactly one of the four is given; `own` is read by the experiment's own code."""

    measure: Fields | None = None
    train: _Training | None = None
    profile: Fields | None = None
    own: Fields | None = None


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
        """Returns the run of a part on these devices, with this model if one is given. Raises UserError."""
        fixed = {"devices": list(devices)} | ({} if model is None else {"models": [model]})
        return expand_plans(self.file, self._place(part, "measure"), inventory, fixed=fixed)

    def training_plans(self, part: str, devices: tuple[str, ...], model: str | None) -> list[TrainingPlan]:
        """Returns the trainings of a part on these devices, with this model if one is given. Raises UserError."""
        found = self.parts[part].train or _Training(contenders=[])
        options = {**found.options} | ({} if model is None else {"model": model})
        own = {name: options.pop(name) for name in _TRAINING if name in options}
        settings = {"q": None, **options}
        contenders = found.contenders
        if found.forward_tokens is not None:
            try:
                first = plans_of_contenders(devices, contenders, 1, settings, own)
                contenders = _of_equal_work(contenders, first, found.forward_tokens, found.evaluations)
            except UserError as error:
                raise self.file.error(self._place(part, "train"), str(error)) from error
        return plans_of_contenders(devices, contenders, found.seeds, settings, own)

    def on_task(self, task: str | None, template: str | None) -> PlannedExperiment:
        """Returns the plan with the user's task in the parts that take it, or without these parts if there is no task.

        Raises UserError for a task that no part takes.
        """
        takers = {
            name: part.train for name, part in self.parts.items() if part.train is not None and part.train.of_user
        }
        if task is None and template is None:
            return replace(self, parts={name: part for name, part in self.parts.items() if name not in takers})
        if not takers or task is None:
            why = "has tasks of its own" if not takers else "needs --task with --template"
            raise UserError(f"The experiment {self.name} {why}: leave out {'--task' if task else '--template'}.")
        parts = dict(self.parts)
        for name, train in takers.items():
            options = {**train.options, "task": task, "template": template}
            parts[name] = parts[name].model_copy(update={"train": train.model_copy(update={"options": options})})
        return replace(self, parts=parts)

    def profile_plan(self, part: str, device: str, model: str | None) -> Plan:
        """Returns what a part profiles on a device, with this model if one is given. Raises UserError."""
        return plan_of(device, self.parts[part].profile or {}, model)

    def own_plan(self, part: str, device: str, model: str | None, *keys: str) -> tuple[Plan, Fields]:
        """Returns an `own` part as a plan for a device, with this model if one is given, and the values of `keys`."""
        values = {**(self.parts[part].own or {})}
        apart = {name: values.pop(name) for name in keys}
        return plan_of(device, values, model), apart


def plan_of(device: str, found: Fields, model: str | None) -> Plan:
    """Returns the values of a plan file as a plan for a device, with this model if one is given."""
    values = {**found} | ({} if model is None else {"model": model})
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Plan((device,), **{**values, **lists})


_TRAINING = {each.name for each in fields(TrainingPlan)} - {"plan"}


def _of_equal_work(words: Sequence[str], plans: Sequence[TrainingPlan], tokens: int, evaluations: int) -> list[str]:
    """Returns the contenders' words with the steps that cost this many forward tokens, and their `eval_every`.

    `plans` are the contenders', with any number of steps. Raises UserError if the tokens are not a whole number of
    steps.
    """
    if len(words) != len(plans):
        raise UserError("total stands for several shapes, so it can't be combined with forward_tokens: give q and b.")
    found = []
    for each, plan in zip(words, plans, strict=True):
        of_step = next(plan.plan.workloads(answers=1)).forward_tokens
        steps, rest = divmod(tokens, of_step)
        if rest or steps % evaluations:
            raise UserError(
                f'Contender "{each}": {tokens} forward tokens in {evaluations} equal stretches are not a whole number '
                f"of its steps of {of_step:g}: choose another q or b, or a multiple of {of_step * evaluations:g}."
            )
        found.append(f"{each} steps={steps:.0f} eval_every={steps / evaluations:.0f}")
    return found


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
