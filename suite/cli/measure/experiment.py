"""`suite experiment`: answers a question about devices by measuring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from foundation.errors import UserError
from foundation.unavailable import as_document
from reports.model.experiment import QUICK, Experiment
from suite.cli.completion import complete_experiment, complete_model
from suite.cli.options import devices_option, inventory_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_plain, print_table, require_written, typeable
from suite.cli.workload_options import refuse_settings
from suite.display import Display
from suite.errors import ExitCode
from suite.home import Home
from workloads.tasks.source import resolve_task, resolve_template

_LIST = "list"
_WITH_RESUME = ("name", "resume", "as_json", "inventory_path")
_WITH_SHOW = ("experiment_id", "as_json", "inventory_path")


@click.command()
@click.argument("name", metavar="NAME|list", required=False, shell_complete=complete_experiment)
@devices_option
@click.option("--model", shell_complete=complete_model, help="A model to use instead of the plan's.")
@click.option("--task", help="A task of yours, by name or file, to measure as well (generalization only).")
@click.option("--template", help="How the task's file is read (docs/tasks.md).")
@click.option("--quick", is_flag=True, help="The small version: the tiny model, about a minute.")
@click.option("--resume", is_flag=True, help="Continue the newest interrupted experiment.")
@click.option(
    "--show",
    "experiment_id",
    metavar="ID|latest",
    help="Compute an earlier experiment's answer again from what it measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def experiment(
    name: str | None,
    selection: str | None,
    model: str | None,
    task: str | None,
    template: str | None,
    quick: bool,
    resume: bool,
    experiment_id: str | None,
    as_json: bool,
    inventory_path: Path,
) -> int:
    """Answer a question about devices by measuring, with a page: the sentence, a picture, the evidence.

    \b
    suite experiment list
    suite experiment parallelism --device jetson
    suite experiment parallelism --quick
    suite experiment --resume
    """
    if name == _LIST:
        return _print_list(Home.locate(inventory_path), as_json)
    # Imported here because measuring takes longer to load than the list.
    from suite.experiments import conduct
    from suite.experiments.experiment import Bench, load_definition
    from suite.experiments.kept import open_experiment, read_experiment

    if experiment_id is not None:
        refuse_settings("--show answers an earlier experiment", _WITH_SHOW)
        home = Home.locate(inventory_path)
        found = read_experiment(experiment_id, home)
        return _print_experiment(conduct.answered(found, load_definition(found.name), home), home, as_json)
    inventory, home = open_inventory(inventory_path)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    bench = Bench(inventory, home, Display(), ("suite", *words))
    if resume:
        refuse_settings("--resume continues the interrupted experiment", _WITH_RESUME)
        return _print_experiment(conduct.go_on(open_experiment(name, home), bench), home, as_json)
    if name is None:
        raise UserError("No experiment is named: `suite experiment list` lists them.")
    devices = tuple(entry.name for entry in inventory.select(selection or "local"))
    task = None if task is None else resolve_task(task, Path.cwd())
    template = None if template is None else resolve_template(template, Path.cwd())
    found = conduct.begin(name, devices, model, quick=quick, bench=bench, task=task, template=template)
    return _print_experiment(found, home, as_json)


def _print_list(home: Home, as_json: bool) -> int:
    from suite.experiments import EXPERIMENTS
    from suite.experiments.experiment import planned
    from suite.experiments.kept import kept_experiments

    made = list(kept_experiments(home))
    rows = [(planned(name, quick=False), planned(name, quick=True), _last(name, made)) for name in EXPERIMENTS]
    if as_json:
        print_json(
            [
                {
                    "name": full.name,
                    "question": full.question,
                    "minutes": full.minutes,
                    "quick_minutes": quick.minutes,
                    "last": None if last is None else last.experiment_id,
                    "devices": None if last is None else list(last.devices),
                }
                for full, quick, last in rows
            ]
        )
        return ExitCode.OK
    table = TextTable()
    for head in ("name", "question", "minutes\n(quick)", "last made"):
        table.add_column(head)
    for full, quick, last in rows:
        minutes = f"{full.minutes:g} ({quick.minutes:g})"
        table.add_texts([full.name, full.question, minutes, "-" if last is None else _when_and_where(last)])
    print_table(table)
    return ExitCode.OK


def _last(name: str, made: Sequence[Experiment]) -> Experiment | None:
    return next((one for one in made if one.name == name and one.answers), None)


def _when_and_where(found: Experiment) -> str:
    return f"{found.started_at[:10]}, {', '.join(found.devices)}{', quick' if found.quick else ''}"


def _print_experiment(found: Experiment, home: Home, as_json: bool) -> int:
    """Rewrites the page, prints the answers and returns the exit code."""
    from reports.files import page_or_reason
    from suite.experiments.kept import write_experiment_page

    page = page_or_reason(lambda: write_experiment_page(found, home))
    if as_json:
        print_json({**found.document(), "page": as_document(page)}, finite=True)
        require_written(page)
    else:
        for device, answer in found.answers.items():
            print_line(f"{device}: {typeable(answer.sentence)}")
            for words in answer.missing:
                print_line(f"{device}: missing: {typeable(words)}")
        if found.quick:
            print_line(QUICK)
        print_plain(f"experiment {found.experiment_id}: {require_written(page)}")
    return ExitCode.OK if found.status == "finished" else ExitCode.INCOMPLETE
