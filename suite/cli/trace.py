"""`suite trace`: a run's steps and sensors for ui.perfetto.dev."""

from __future__ import annotations

from pathlib import Path

import click

from suite import exit_codes
from suite.cli.output import print_line
from suite.cli.places import inventory_option
from suite.cli.stores import opened_store
from suite.exchange.perfetto import write_trace


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="The file; compressed if it ends with .gz. Default: trace-RUN.json, with .gz when it is large.",
)
@inventory_option
def trace(run: str, path: Path | None, inventory_path: Path) -> int:
    """Write the steps and sensors of a run as one trace, to be opened at https://ui.perfetto.dev.

    \b
    suite trace latest
    suite trace 2026-11-22T14-03-22-ab12 --to run.json.gz
    """
    with opened_store(inventory_path, nothing="no run yet") as store:
        print_line(str(write_trace(store, run, path)))
    return exit_codes.OK
