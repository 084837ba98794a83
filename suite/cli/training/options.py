"""Options that say how long a training goes on and how it is evaluated, shared by `train` and `race`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from suite.cli.workload_options import OwnOrNumber
from suite.planning.plan import Plan
from suite.training.plan import SCHEDULES, TrainingPlan

_F = TypeVar("_F", bound=Callable[..., object])
_PLAN = TrainingPlan(Plan(devices=()))
_OF_TRAINING = ("steps", "eval_every", "checkpoint_every", "examples", "schedule", "target", "adapter")
_BUDGETS = ("budget_minutes", "budget_joules")


def training_options(function: _F) -> _F:
    """Adds the options, named as the fields of a TrainingPlan and its Plan."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def training_fields(settings: dict[str, Any]) -> dict[str, Any]:
    """Takes the fields of a TrainingPlan, all but its Plan, out of `settings` and returns them."""
    own = {name: settings.pop(name) for name in (*_OF_TRAINING, *_BUDGETS)}
    adapter = own["adapter"]
    return own | {"adapter": None if adapter is None else str(adapter.resolve())}


_OPTIONS = (
    click.option("--steps", default=_PLAN.steps, show_default=True, help="Training steps."),
    click.option("--eval-every", default=_PLAN.eval_every, show_default=True, help="Steps between evaluations."),
    click.option(
        "--checkpoint-every", default=_PLAN.checkpoint_every, show_default=True, help="Steps between saved states."
    ),
    click.option("--examples", default=_PLAN.examples, show_default=True, help="Held-out examples of an evaluation."),
    click.option(
        "--schedule",
        type=click.Choice(SCHEDULES),
        default=_PLAN.schedule,
        show_default=True,
        help="How the learning rate falls.",
    ),
    click.option("--budget-minutes", type=float, help="End when the steps have taken so long on the device."),
    click.option("--budget-joules", type=float, help="End when the steps have taken so much energy."),
    click.option(
        "--target", type=float, metavar="SHARE", help="End when so many held-out answers are right, such as 0.8."
    ),
    click.option("--adapter", type=click.Path(path_type=Path), metavar="FOLDER", help="A PEFT adapter to start from."),
    click.option("--seed", default=7, show_default=True, help="Seed of noise, batches and the held-out part."),
    click.option(
        "--lr", type=OwnOrNumber(), default="auto", show_default=True, help="Learning rate; auto: the setting's."
    ),
    click.option(
        "--eps", type=OwnOrNumber(), default="auto", show_default=True, help="Size of the perturbations, likewise."
    ),
)
