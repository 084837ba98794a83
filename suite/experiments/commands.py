"""Writes the commands that repeat what an experiment measured, as a user would type them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from foundation.unavailable import Json
from reports.model.measurement import Measurement
from reports.model.training import Training
from suite.planning.plan import Fields, Plan
from suite.training.plan import TrainingPlan

_LOOPS = ("inner", "outer")
_ADAPTERS = ("rank", "alpha", "targets")
_UNSAID = {"schedule": TrainingPlan.schedule, "init": TrainingPlan.init}


def run_command(one: Measurement, model: str | None = None) -> str:
    """Returns the `suite run` that measures a workload again; `model` is the one given instead of the plan's."""
    found = one.workload
    words = ["suite", "run", "--device", one.device, "--model", model or str(found.get("model"))]
    words += ["--method", str(found.get("method")), "--quant", str(found.get("quant"))]
    for name in ("q", "b", "T"):
        words += [f"-{name}", str(found.get(name))]
    if "layers" in found:
        words += ["--layers", str(found["layers"])]
    for loop in _LOOPS:
        switched = found.get(f"{loop}_parallel")
        words += [] if switched is None else [f"--{loop}", _word(switched)]
    return shlex.join(words)


def race_command(trainings: Sequence[Training], model: str | None = None) -> str:
    """Returns the `suite race` that repeats these trainings of one device; empty if there are none."""
    if not trainings:
        return ""
    first = trainings[0]
    plan: Fields = first.plan.get("plan") or {}
    words = ["suite", "race", "--device", first.device, "--model", model or str(first.workload.get("model"))]
    words += ["-T", str(first.workload.get("T")), "--seeds", str(len({one.seed for one in trainings}))]
    for option, value in (("--task", plan.get("task")), ("--target", first.plan.get("target"))):
        words += [] if value is None else [option, str(value)]
    words += ["--examples", str(first.plan.get("examples")), *_adapter_words(plan)]
    for contender in dict.fromkeys(_contender(one) for one in trainings):
        words += ["--contender", contender]
    return shlex.join(words)


def _adapter_words(plan: Fields) -> list[str]:
    """Returns the options for the adapters that all contenders have, without defaults."""
    found = {name: _word(plan.get(name, getattr(Plan, name))) for name in _ADAPTERS}
    differing = [name for name, word in found.items() if word != _word(getattr(Plan, name))]
    return [word for name in differing for word in (f"--{name}", found[name])]


def _contender(one: Training) -> str:
    """Returns a contender as `suite race --contender` takes it."""
    plan: Fields = one.plan.get("plan") or {}
    own: dict[str, Json] = {"quant": one.workload.get("quant"), "q": one.workload.get("q"), "b": one.workload.get("b")}
    own |= {name: plan.get(name) for name in ("lr", "eps", "layers", *_LOOPS)}
    own |= {name: one.plan.get(name) for name in ("steps", "eval_every")}
    own |= {name: one.plan.get(name) for name, unsaid in _UNSAID.items() if one.plan.get(name) != unsaid}
    pairs = [f"{name}={_word(value)}" for name, value in own.items() if value is not None]
    return " ".join([str(one.workload.get("method")), *pairs])


def _word(value: Json) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
