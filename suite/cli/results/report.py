"""`suite report`: writes the pages that have changed; `suite serve`: serves them to browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import click

from foundation.atomic import write_atomic
from foundation.errors import UserError, unknown_name
from foundation.plugins import Registry, require_callable
from foundation.text import harmless
from reports.model.source import ReportSource
from reports.site.build import build, build_training
from reports.site.serving import LOOPBACK, NotNow, SiteServer
from reports.site.writing import write_single_file
from suite.cli.completion import complete_reporter, complete_run
from suite.cli.options import inventory_option, open_store
from suite.cli.output import print_plain
from suite.errors import ExitCode, StoreError
from suite.exchange.openmetrics import CONTENT_TYPE, openmetrics
from suite.exchange.pytorch_records import pytorch_records
from suite.home import Home
from suite.report_data.source import StoreSource
from suite.store.finding import find_run

Reporter: TypeAlias = Callable[[ReportSource, str | None], str]
"""Returns the text for a run, or for everything in the source if none is given."""


def _accept(name: str, loaded: object) -> Reporter:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return]  # what it returns is checked when it is called


REPORTERS: Registry[Reporter] = Registry("reporters", {"openmetrics": openmetrics, "pytorch": pytorch_records}, _accept)


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the site; default: reports/ in the suite's home."
)
@click.option(
    "--single-file", "single", type=click.Path(path_type=Path), metavar="FILE", help="Write one self-contained page."
)
@click.option("--page", metavar="PATH", help="Which page of the site --single-file takes; default: the run's.")
@click.option(
    "--as",
    "reporter",
    metavar="NAME",
    shell_complete=complete_reporter,
    help="Instead of pages: openmetrics, pytorch or a plugin's format; to the file of --out, or to standard output.",
)
@inventory_option
def report(
    run: str | None, out: Path | None, single: Path | None, page: str | None, reporter: str | None, inventory_path: Path
) -> int:
    """Write the pages whose content has changed, of all or of one run or training, and print the path to open.

    \b
    suite report
    suite report 2026-11-22T14-03-22-ab12 --out /tmp/site
    suite report 2026-11-22T14-03-22-ab12 --single-file run.html
    suite report --single-file jetson.html --page devices/jetson/index.html
    suite report --as openmetrics --out /var/lib/node_exporter/suite.prom
    suite report latest --as pytorch --out results.json
    """
    if reporter is not None:
        return _report_as(reporter, run, out, single, inventory_path)
    if page is not None and single is None:
        raise UserError("--page names the page for --single-file: add --single-file FILE.")
    with open_source(inventory_path) as (source, home):
        folder = out or home.reports
        if run is not None and any(one.group_id == run for one in source.training_groups()):
            built = build_training(source, folder, run)
        else:
            built = build(source, folder, None if run is None else [_run_id(run, inventory_path)])
    if single is not None:
        built = write_single_file(built if page is None else _page(folder, page), single)
    print_plain(str(built))
    return ExitCode.OK


def _report_as(name: str, run: str | None, out: Path | None, single: Path | None, inventory_path: Path) -> int:
    """Writes a reporter's text on a run, or on everything."""
    if single is not None:
        raise UserError("--single-file writes a page, and --as something else: leave out one of them.")
    with open_source(inventory_path) as (source, _):
        chosen = None if run is None else _run_id(run, inventory_path)
        text = _text_of(name, source, chosen)
    if out is None:
        click.echo(text, nl=False)
        return ExitCode.OK
    write_atomic(out, text.encode())
    print_plain(str(out))
    return ExitCode.OK


def _text_of(name: str, source: ReportSource, run_id: str | None) -> str:
    """Returns the text of the reporter of that name, on a run or on everything. Raises UserError if it is unknown."""
    if name not in REPORTERS:
        raise unknown_name("reporter", name, REPORTERS)
    report = REPORTERS[name]
    with REPORTERS.running(name):
        text: object = report(source, run_id)
        if not isinstance(text, str):
            raise TypeError(f"it returned a {type(text).__name__}, not text")
    return text


@contextmanager
def open_source(inventory_path: Path) -> Iterator[tuple[StoreSource, Home]]:
    """Opens the data to report and its home. Raises UserError if nothing was measured yet."""
    with open_store(inventory_path, nothing="nothing to report yet") as store:
        yield StoreSource(store), Home.locate(inventory_path)


def _run_id(text: str, inventory_path: Path) -> str:
    with open_store(inventory_path) as store:
        return find_run(store, text)


def _page(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path.suffix != ".html" or not path.is_file():
        raise UserError(
            f"There is no page {name!r} in {folder}: give its path in that folder, as in devices/NAME/index.html."
        )
    return path


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any free one."
)
@click.option(
    "--site", type=click.Path(path_type=Path), help="Folder of the site; default: reports/ in the suite's home."
)
@click.option("--no-build", is_flag=True, help="Serve the existing pages without building what has changed.")
@inventory_option
def serve(host: str, port: int, site: Path | None, no_build: bool, inventory_path: Path) -> int:
    """Build what has changed and serve the reports to browsers on this machine, until Ctrl-C.

    /metrics has the newest numbers in the OpenMetrics format.

    \b
    suite serve
    suite serve --port 9000 --no-build
    """
    with open_source(inventory_path) as (source, home):
        folder = site or home.reports
        if not no_build:
            print_plain("building what has changed", err=True)
            build(source, folder)
    with SiteServer(folder, host, port, {"/metrics": lambda: _metrics(inventory_path)}) as server:
        if not server.is_local:
            print_plain(f"suite: everyone who reaches {host} can read these reports: there is no login", err=True)
        print_plain(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_plain("stopped", err=True)
    return ExitCode.OK


def _metrics(inventory_path: Path) -> tuple[str, bytes]:
    """Returns the type and content of /metrics, read from the store. Raises NotNow if the store can't be read."""
    try:
        with open_source(inventory_path) as (source, _):
            return CONTENT_TYPE, openmetrics(source).encode()
    except (UserError, StoreError, OSError) as error:
        raise NotNow(harmless(str(error))) from error
