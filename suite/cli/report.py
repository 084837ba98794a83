"""`suite report`: write the pages again."""

from __future__ import annotations

from pathlib import Path

import click

from reports.site import build
from suite import exit_codes
from suite.cli.places import inventory_option
from suite.errors import UserError
from suite.home import Home
from suite.store.source import StoreSource
from suite.store.store import Store


@click.command()
@click.argument("run_id", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the site; default: reports/ in the suite's home."
)
@inventory_option
def report(run_id: str | None, out: Path | None, inventory_path: Path) -> int:
    """Write the pages of all runs, or of one, and print the path to open.

    \b
    suite report
    suite report 2026-11-22T14-03-22-ab12 --out /tmp/site
    """
    home = Home.locate(inventory_path)
    if not home.store_path.is_file():
        raise UserError(
            f"There is nothing to report yet in {home.root}: measure first with `suite run --device local`."
        )
    store = Store.open(home.store_path, read_only=True)
    try:
        click.echo(build(StoreSource(store), out or home.reports, None if run_id is None else [run_id]))
    finally:
        store.close()
    return exit_codes.OK
