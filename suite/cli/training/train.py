"""`suite train`: train an adapter on devices, see what it is worth on the way, and keep it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from foundation.errors import UserError
from foundation.unavailable import Unavailable
from suite import exit_codes
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import print_json, print_line, print_table
from suite.cli.workload_options import OwnOrNumber, refuse_settings, workload_options
from suite.planning.plan import Plan
from suite.rounding import format_rounded
from suite.store.trainings import Training
from suite.training.plan import SCHEDULES, TrainingPlan

_PLAN = TrainingPlan(Plan(devices=()))
_OF_TRAINING = ("steps", "eval_every", "checkpoint_every", "examples", "schedule", "target", "adapter")
_WITH_RESUME = ("resume", "as_json", "inventory_path")
_BUDGETS = ("budget_minutes", "budget_joules")


@click.command()
@click.option("--device", "selection", metavar="NAME[,NAME]", help="Devices of the inventory, by name.")
@workload_options
@click.option("--steps", default=_PLAN.steps, show_default=True, help="Training steps.")
@click.option("--eval-every", default=_PLAN.eval_every, show_default=True, help="Steps between evaluations.")
@click.option(
    "--checkpoint-every", default=_PLAN.checkpoint_every, show_default=True, help="Steps between saved states."
)
@click.option("--examples", default=_PLAN.examples, show_default=True, help="Held-out examples of an evaluation.")
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default=_PLAN.schedule,
    show_default=True,
    help="How the learning rate falls.",
)
@click.option("--budget-minutes", type=float, help="End when the steps have taken so long on the device.")
@click.option("--budget-joules", type=float, help="End when the steps have taken so much energy.")
@click.option("--target", type=float, metavar="SHARE", help="End when so many held-out answers are right, such as 0.8.")
@click.option("--adapter", type=click.Path(path_type=Path), metavar="FOLDER", help="A PEFT adapter to start from.")
@click.option("--seed", default=7, show_default=True, help="Seed of noise, batches and the held-out part.")
@click.option("--lr", type=OwnOrNumber(), default="auto", show_default=True, help="Learning rate; auto: the setting's.")
@click.option(
    "--eps", type=OwnOrNumber(), default="auto", show_default=True, help="Size of the perturbations, likewise."
)
@click.option("--resume", is_flag=True, help="Go on with the newest training that was interrupted, killed or lost.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def train(selection: str | None, resume: bool, as_json: bool, inventory_path: Path, **settings: Any) -> int:
    """Train on devices, evaluate on held-out examples there, and keep the adapter.

    \b
    suite train --device jetson --quant fp16 --steps 500
    suite train --device local --model tiny --quant fp32 --steps 40 --eval-every 20 --examples 24
    suite train --device jetson --quant nf4 --budget-minutes 30 --target 0.8
    suite train --resume
    """
    from suite.display import Display
    from suite.training import conduct

    inventory, home = open_inventory(inventory_path)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    command = ["suite", *words]
    if resume:
        refuse_settings(
            "--resume goes on with the plan of the interrupted training", ("resume", "as_json", "inventory_path")
        )
        trained = conduct.resume(inventory, home, Display(), command)
    else:
        if selection is None:
            raise UserError(f"No device is named: add --device with one or more of {', '.join(inventory.devices)}.")
        devices = tuple(entry.name for entry in inventory.select(selection))
        trained = conduct.begin([_plan(devices, settings)], inventory, home, Display(), command)
    return print_trainings(trained, as_json)


def _plan(devices: tuple[str, ...], settings: dict[str, Any]) -> TrainingPlan:
    own = {name: settings.pop(name) for name in (*_OF_TRAINING, *_BUDGETS)}
    adapter = own.pop("adapter")
    return TrainingPlan(
        Plan(devices=devices, **settings), **own, adapter=None if adapter is None else str(adapter.resolve())
    )


def print_trainings(trained: Sequence[Training], as_json: bool) -> int:
    """Prints what was trained; returns the exit code: incomplete unless every training finished."""
    if as_json:
        print_json({"trainings": [one.document() for one in trained]}, finite=True)
    else:
        print_table(_table(trained))
        for one in trained:
            print_line(f"{one.device} {one.workload['quant']}: {one.status}: {one.reason}")
    complete = all(one.status == "finished" for one in trained)
    return exit_codes.OK if complete else exit_codes.INCOMPLETE


_COLUMNS = (
    "step",
    "accuracy\nbefore",
    "accuracy\nafter",
    "best",
    "loss\nafter",
    "step\ntime s",
    "energy\nJ",
    "peak\nMiB",
)


def _table(trained: Sequence[Training]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("device")
    table.add_column("setting")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for one in trained:
        table.add_row(*(escape(cell) for cell in _row(one)))
    return table


def _row(one: Training) -> list[str]:
    found, energy = one.evaluations, one.energy_at(one.steps)
    accuracies = [f"{each.accuracy:.3f}" for each in (found[0], found[-1])] if found else ["-", "-"]
    return [
        one.device,
        str(one.workload["quant"]),
        str(one.steps),
        *accuracies,
        f"{max(each.accuracy for each in found):.3f}" if found else "-",
        f"{found[-1].loss:.3f}" if found else "-",
        format_rounded(one.seconds) if one.steps else "-",
        "-" if isinstance(energy, Unavailable) or not one.steps else format_rounded(energy / 1e3),
        "-" if one.peak_memory_kib is None else format_rounded(one.peak_memory_kib / 1024),
    ]
