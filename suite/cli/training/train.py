"""`suite train`: trains on devices, evaluates along the way, and keeps the adapters.

`suite race`: compares ways of training: cost to an accuracy, accuracy under a budget, the Pareto front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from foundation.errors import UserError
from foundation.text import format_rounded
from foundation.unavailable import Unavailable, as_document
from reports.model.race import Budget, Contender, Estimate, Race
from reports.model.reading import Interval, Number
from reports.model.training import Training, contender_names
from suite.cli.options import devices_option, inventory_option, is_given, open_inventory
from suite.cli.output import (
    TextTable,
    print_json,
    print_line,
    print_plain,
    print_table,
    require_written,
    typeable,
)
from suite.cli.workload_options import OwnOrNumber, listed, plan_of, refuse_settings, shape_options, workload_options
from suite.errors import ExitCode
from suite.home import Home
from suite.planning.plan import Plan
from suite.results.race import races
from suite.results.race_answers import amount, robustness_sentence
from suite.training.plan import INITS, SCHEDULES, TrainingPlan
from suite.training.race_plans import CONTENDER_KEYS, plans_of_contenders, plans_of_methods
from workloads.method import METHODS
from workloads.quantize.settings import QUANTIZATION_SETTINGS

_F = TypeVar("_F", bound=Callable[..., object])
_PLAN = TrainingPlan(Plan(devices=()))
_OF_TRAINING = ("steps", "eval_every", "checkpoint_every", "examples", "schedule", "target", "adapter", "init")
_BUDGETS = ("budget_minutes", "budget_joules")


def _training_options(function: _F) -> _F:
    """Adds the options, named as the fields of a TrainingPlan and its Plan."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _training_fields(settings: dict[str, Any]) -> dict[str, Any]:
    """Removes the fields of a TrainingPlan, except its Plan, from `settings` and returns them."""
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
    click.option("--budget-minutes", type=float, help="End when the steps have taken this many minutes on the device."),
    click.option("--budget-joules", type=float, help="End when the steps have taken this much energy."),
    click.option(
        "--target", type=float, metavar="SHARE", help="End when this share of held-out answers is right, such as 0.8."
    ),
    click.option("--adapter", type=click.Path(path_type=Path), metavar="FOLDER", help="A PEFT adapter to start from."),
    click.option(
        "--init",
        type=click.Choice(INITS),
        default=_PLAN.init,
        show_default=True,
        help="A of the adapters: drawn, or computed to tell the task's answers apart (docs/training.md).",
    ),
    click.option("--seed", default=7, show_default=True, help="Seed of noise, batches and the held-out part."),
    click.option(
        "--lr", type=OwnOrNumber(), default="auto", show_default=True, help="Learning rate; auto: the setting's."
    ),
    click.option(
        "--eps",
        type=OwnOrNumber(),
        default="auto",
        show_default=True,
        help="Size of the perturbations; auto: the setting's.",
    ),
)


@click.command()
@devices_option
@workload_options
@_training_options
@click.option("--resume", is_flag=True, help="Continue the newest training that was interrupted, killed or lost.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def train(selection: str | None, resume: bool, as_json: bool, inventory_path: Path, **settings: Any) -> int:
    """Train on devices, evaluate on held-out examples there, and keep the adapters.

    \b
    suite train --device jetson --quant fp16 --steps 500
    suite train --device local --model tiny --quant fp32 --steps 40 --eval-every 20 --examples 24
    suite train --device jetson --quant nf4 --budget-minutes 30 --target 0.8
    suite train --device jetson --quant fp16 --method mezo-full
    suite train --resume
    """
    from suite.display import Display
    from suite.training import conduct

    inventory, home = open_inventory(inventory_path)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    command = ["suite", *words]
    if resume:
        refuse_settings(
            "--resume continues the plan of the interrupted training", ("resume", "as_json", "inventory_path")
        )
        trained = conduct.resume(inventory, home, Display(), command)
    else:
        if selection is None:
            raise UserError(f"No device is named: add --device with one or more of {', '.join(inventory.devices)}.")
        devices = tuple(entry.name for entry in inventory.select(selection))
        own = _training_fields(settings)
        trained = conduct.begin([TrainingPlan(plan_of(devices, settings), **own)], inventory, home, Display(), command)
    return _print_trainings(trained, write_report(home, trained), as_json)


def write_report(home: Home, trained: Sequence[Training]) -> str | Unavailable:
    """Writes the page of a command's trainings. Returns its path, or why it was not written. Raises StoreError."""
    # Imported here because pages and store take longer to load than checking options.
    from reports.files import page_or_reason
    from reports.site.build import build_training
    from suite.report_data.source import StoreSource
    from suite.store.store import Store

    with contextlib.closing(Store.open(home.store_path)) as store:
        return page_or_reason(lambda: build_training(StoreSource(store), home.reports, trained[0].group_id))


def _print_trainings(trained: Sequence[Training], report: str | Unavailable, as_json: bool) -> int:
    """Prints what was trained; returns the exit code: incomplete unless every training finished."""
    if as_json:
        documents = [one.document() for one in trained]
        print_json(
            {"group_id": trained[0].group_id, "report": as_document(report), "trainings": documents}, finite=True
        )
        require_written(report)
    else:
        print_table(_table(trained))
        for one in trained:
            print_line(f"{one.device} {one.workload['quant']}: {one.status}: {one.reason}")
        print_plain(f"report: {require_written(report)}")
    complete = all(one.status == "finished" for one in trained)
    return ExitCode.OK if complete else ExitCode.INCOMPLETE


_COLUMNS = (
    "steps",
    "accuracy\nbefore",
    "accuracy\nafter",
    "best",
    "loss\nafter",
    "all steps\ns",
    "energy\nJ",
    "peak\nMiB",
)


def _table(trained: Sequence[Training]) -> TextTable:
    table = TextTable()
    table.add_column("device")
    table.add_column("setting")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for one in trained:
        table.add_texts(_row(one))
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


@click.command()
@devices_option
@listed("--methods", "methods", ("prge", "mezo-lora-fa"), f"Methods, from {', '.join(METHODS)}.")
@listed("--quants", "quants", ("fp32",), f"Quantization settings, from {', '.join(QUANTIZATION_SETTINGS)}.")
@click.option(
    "--contender",
    "contenders",
    multiple=True,
    metavar="WORDS",
    help="Instead of --methods and --quants: a method, then the contender's own options, as key=value with the keys "
    f"{', '.join(CONTENDER_KEYS)}; once for each contender.",
)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each contender; an interval needs 3.")
@click.option(
    "--robustness", is_flag=True, help="Repeat each training with a busy device and an interruption, and compare."
)
@shape_options
@_training_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def race(
    selection: str | None,
    methods: tuple[str, ...],
    quants: tuple[str, ...],
    contenders: tuple[str, ...],
    seeds: int,
    robustness: bool,
    as_json: bool,
    inventory_path: Path,
    **settings: Any,
) -> int:
    """Train in several ways and report which is best and by how much, or that it can't be told.

    The ways are every method with every setting, or contenders, each with its own learning rate, schedule and shape.

    \b
    suite race --device jetson --methods prge,mezo-lora-fa --quants fp16,nf4 --target 0.8
    suite race --device jetson --quants fp32,int8,nf4 --methods prge --budget-minutes 30
    suite race --device local --model tiny --methods prge,mezo-lora-fa --seeds 3 --steps 40 --eval-every 10
    suite race --device jetson --methods prge,fo-lora-fa --target 0.8 --robustness
    suite race --device jetson --contender "prge q=4 b=4 lr=1e-3" --contender "fo-lora-fa b=16 lr=5e-3 schedule=linear"
    suite race --device jetson --contender "prge total=16 quant=nf4" --contender "fzoo q=15 b=1 quant=nf4" --target 0.8
    suite train --resume     continues an interrupted race
    """
    from suite.display import Display
    from suite.training import conduct

    inventory, home = open_inventory(inventory_path)
    if selection is None:
        raise UserError(f"No device is named: add --device with one or more of {', '.join(inventory.devices)}.")
    devices = tuple(entry.name for entry in inventory.select(selection))
    own = _training_fields(settings)
    if contenders:
        _refuse_lists()
        plans = plans_of_contenders(devices, contenders, seeds, settings, own, robustness)
    else:
        plans = plans_of_methods(devices, methods, quants, seeds, settings, own, robustness)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    trained = conduct.begin(plans, inventory, home, Display(), ["suite", *words])
    return _print_races(races(trained), trained, write_report(home, trained), as_json)


def _refuse_lists() -> None:
    """Raises UserError if methods or settings are listed as well as contenders, each of which names its own."""
    for name in ("methods", "quants"):
        if is_given(name):
            raise UserError(
                f"A race takes either --contender or --methods and --quants: leave out --{name}, and name method "
                "and quant in each contender."
            )


def _print_races(found: Sequence[Race], trained: Sequence[Training], report: str | Unavailable, as_json: bool) -> int:
    """Prints the races; returns the exit code: incomplete unless every training finished."""
    if as_json:
        documents = {"races": [one.document() for one in found], "trainings": [one.document() for one in trained]}
        print_json({"group_id": trained[0].group_id, "report": as_document(report), **documents}, finite=True)
        require_written(report)
    else:
        for one in found:
            _print_race(one)
        names = contender_names(trained)
        for training in trained:
            if training.status != "finished":
                name = f"{names[training.training_id]}, seed {training.seed}"
                print_line(
                    f"{training.device} {name}: {training.status}: {training.reason or 'no reason was recorded'}"
                )
        print_plain(f"report: {require_written(report)}")
    complete = all(one.status == "finished" for one in trained)
    return ExitCode.OK if complete else ExitCode.INCOMPLETE


def _print_race(one: Race) -> None:
    print_table(_race_table(one))
    for contender in one.contenders:
        for words in (*(contender.cost.missed if contender.cost else ()), *contender.quality.remarks):
            print_line(f"{one.device} {contender.name}: {words}")
    if one.why_no_energy:
        print_line(f"{one.device}: the Pareto front uses seconds, as energy is unavailable: {one.why_no_energy}")
    for words in one.winners:
        print_line(typeable(f"{one.device}: {words}"))
    for each in one.robustness:
        print_line(typeable(f"{one.device}: {robustness_sentence(each, one.emulated)}"))


def _race_table(one: Race) -> TextTable:
    """Returns a table with a row per contender: values with 95 % intervals, or ranges of fewer than 3 seeds."""
    table = TextTable()
    table.add_column("device")
    table.add_column("contender")
    costs = one.target is not None
    if costs:
        for name in (f"reached\n{one.target:g}", "steps", "all steps\ns", "energy\nJ", "peak\nMiB"):
            table.add_column(name, justify="right")
    if isinstance(one.budget, Budget):
        table.add_column(typeable(f"accuracy after\n{amount(one.budget)}"), justify="right")
    table.add_column("accuracy\nat end", justify="right")
    table.add_column("Pareto\nfront")
    for contender in one.contenders:
        table.add_texts([one.device, *_race_row(one, contender)])
    return table


def _race_row(one: Race, contender: Contender) -> list[str]:
    cells = [contender.name]
    if (cost := contender.cost) is not None:
        seeds = len(contender.seeds)
        cells += [f"{seeds - len(cost.missed)} of {seeds}", _estimate(cost.steps), _estimate(cost.seconds)]
        cells += [_estimate(cost.energy_mj, 1e-3), _estimate(cost.peak_memory_kib, 1 / 1024)]
    if isinstance(one.budget, Budget):
        cells.append(_estimate(contender.quality.accuracy, accuracy=True))
    end: Number = contender.outcome.accuracy
    cells.append("-" if isinstance(end, Unavailable) else f"{end:.3f}")
    return [*cells, "yes" if contender.outcome.in_front else "no"]


def _estimate(found: Estimate | Unavailable, factor: float = 1.0, *, accuracy: bool = False) -> str:
    if isinstance(found, Unavailable):
        return "-"

    def write(value: float) -> str:
        return f"{value:.3f}" if accuracy else format_rounded(value * factor)

    ends = found.interval
    if isinstance(ends, Interval):
        return f"{write(found.value)} {write(ends.low)}-{write(ends.high)}"
    return f"{write(found.value)} [{write(found.least)}-{write(found.most)}, n={found.seeds}]"
