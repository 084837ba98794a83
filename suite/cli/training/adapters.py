"""`suite adapters`: lists trainings, and writes their adapters as folders that PEFT reads."""

from __future__ import annotations

from pathlib import Path

import click

from foundation.errors import UserError
from reports.model.training import Training
from suite.cli.completion import complete_training
from suite.cli.options import inventory_option, open_store
from suite.cli.output import TextTable, print_json, print_line, print_table
from suite.errors import ExitCode
from suite.home import Home
from suite.store.trainings import Trainings

_NOTHING = "no trained adapter yet"


@click.group("adapters")
def adapters_group() -> None:
    """List trained adapters, or write one as a folder that PEFT reads."""


@adapters_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def list_adapters(as_json: bool, inventory_path: Path) -> int:
    """List all trainings, newest first.

    \b
    suite adapters list
    """
    with open_store(inventory_path, nothing=_NOTHING) as store:
        found = Trainings(store.database).all()[::-1]
    if as_json:
        print_json({"trainings": [one.document() for one in found]}, finite=True)
        return ExitCode.OK
    if not found:
        print_line("nothing was trained yet: start with `suite train`")
        return ExitCode.OK
    table = TextTable()
    for name in ("training", "model", "method", "steps", "accuracy", "status"):
        table.add_column(name, justify="right" if name in ("steps", "accuracy") else "left", overflow="fold")
    for one in found:
        table.add_texts(_row(one))
    print_table(table)
    return ExitCode.OK


def _row(one: Training) -> list[str]:
    accuracy = f"{one.evaluations[-1].accuracy:.3f}" if one.evaluations else "-"
    workload = one.workload
    return [
        one.training_id,
        f"{workload['model']} {workload['quant']}",
        str(workload["method"]),
        str(one.steps),
        accuracy,
        one.status,
    ]


@adapters_group.command("export")
@click.argument("training_id", shell_complete=complete_training)
@click.argument("folder", type=click.Path(path_type=Path))
@inventory_option
def export_adapter(training_id: str, folder: Path, inventory_path: Path) -> int:
    """Write the adapter of a training into a new FOLDER, in PEFT's format.

    \b
    suite adapters list
    suite adapters export 2026-11-29T11-20-01-ab12.local-int8.1f0c2d3e adapter
    """
    from suite.training.checkpoints import write_adapter

    if folder.exists():
        raise UserError(f"{folder} exists already: name a new folder.")
    with open_store(inventory_path, nothing=_NOTHING) as store:
        training = Trainings(store.database).one(training_id)
    write_adapter(training, Home.locate(inventory_path), folder)
    print_line(f"adapter of step {training.steps}: {folder}")
    return ExitCode.OK
