"""`suite report`: write the pages again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from foundation.errors import UserError
from reports.single_file import write_single_file
from reports.site import build
from suite import exit_codes
from suite.cli.places import inventory_option
from suite.cli.stores import opened_store
from suite.home import Home
from suite.store.finding import find_run
from suite.store.source import StoreSource


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the site; default: reports/ in the suite's home."
)
@click.option(
    "--single-file", "single", type=click.Path(path_type=Path), metavar="FILE", help="Write one page with all it needs."
)
@click.option("--page", metavar="PATH", help="Which page of the site --single-file takes; default: the run's.")
@inventory_option
def report(run: str | None, out: Path | None, single: Path | None, page: str | None, inventory_path: Path) -> int:
    """Write the pages whose content has changed, of all runs or of one, and print the path to open.

    \b
    suite report
    suite report 2026-11-22T14-03-22-ab12 --out /tmp/site
    suite report 2026-11-22T14-03-22-ab12 --single-file run.html
    suite report --single-file jetson.html --page devices/jetson/index.html
    """
    if page is not None and single is None:
        raise UserError("--page names the page for --single-file: add --single-file FILE.")
    with opened_source(inventory_path) as (source, home):
        folder = out or home.reports
        built = build(source, folder, None if run is None else [_run_id(run, inventory_path)])
    if single is not None:
        built = write_single_file(built if page is None else _page(folder, page), single)
    click.echo(built)
    return exit_codes.OK


@contextmanager
def opened_source(inventory_path: Path) -> Iterator[tuple[StoreSource, Home]]:
    """What there is to report, and the home it is in. UserError when nothing was measured yet."""
    with opened_store(inventory_path, nothing="nothing to report yet") as store:
        yield StoreSource(store), Home.locate(inventory_path)


def _run_id(text: str, inventory_path: Path) -> str:
    with opened_store(inventory_path) as store:
        return find_run(store, text)


def _page(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path.suffix != ".html" or not path.is_file():
        raise UserError(
            f"There is no page {name!r} in {folder}: name one by its path there, as in devices/NAME/index.html."
        )
    return path
