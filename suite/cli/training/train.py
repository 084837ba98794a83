"""`suite train`: train an adapter on devices, see what it is worth on the way, and keep it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from foundation.errors import UserError
from foundation.unavailable import Unavailable, as_document
from reports.model.training import Training
from suite import exit_codes
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import (
    TextTable,
    print_json,
    print_line,
    print_plain,
    print_table,
    require_written,
)
from suite.cli.training.options import training_fields, training_options
from suite.cli.workload_options import plan_of, refuse_settings, workload_options
from suite.home import Home
from suite.rounding import format_rounded
from suite.training.plan import TrainingPlan


@click.command()
@click.option("--device", "selection", metavar="NAME[,NAME]", help="Devices of the inventory, by name.")
@workload_options
@training_options
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
        own = training_fields(settings)
        trained = conduct.begin([TrainingPlan(plan_of(devices, settings), **own)], inventory, home, Display(), command)
    return print_trainings(trained, write_report(home, trained), as_json)


def write_report(home: Home, trained: Sequence[Training]) -> str | Unavailable:
    """Writes the page of the trainings of a command; returns its path, or why it could not. Raises StoreError."""
    # Imported here because pages and store take longer to load than checking options.
    from reports.files import page_or_reason
    from reports.site.build import build_training
    from suite.report_data.source import StoreSource
    from suite.store.store import Store

    with contextlib.closing(Store.open(home.store_path)) as store:
        return page_or_reason(lambda: build_training(StoreSource(store), home.reports, trained[0].group_id))


def print_trainings(trained: Sequence[Training], report: str | Unavailable, as_json: bool) -> int:
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
    return exit_codes.OK if complete else exit_codes.INCOMPLETE


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
