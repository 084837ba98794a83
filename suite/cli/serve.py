"""`suite serve`: browse the reports."""

from __future__ import annotations

from pathlib import Path

import click

from reports.serving import LOOPBACK, SiteServer
from reports.site import build
from suite import exit_codes
from suite.cli.places import inventory_option
from suite.cli.report import opened_source


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free port.")
@click.option(
    "--site", type=click.Path(path_type=Path), help="Folder of the site; default: reports/ in the suite's home."
)
@click.option("--no-build", is_flag=True, help="Serve the pages as they are, without building what has changed.")
@inventory_option
def serve(host: str, port: int, site: Path | None, no_build: bool, inventory_path: Path) -> int:
    """Build what has changed and serve the reports to browsers on this machine, until Ctrl-C.

    \b
    suite serve
    suite serve --port 9000 --no-build
    """
    with opened_source(inventory_path) as (source, home):
        folder = site or home.reports
        if not no_build:
            click.echo("building what has changed", err=True)
            build(source, folder)
    with SiteServer(folder, host, port) as server:
        if not server.is_local:
            click.echo(
                f"suite: everyone who reaches {host} can read these reports: nobody is asked for a name", err=True
            )
        click.echo(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
    return exit_codes.OK
