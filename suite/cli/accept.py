"""`suite accept`: a new level is the normal one from now on; `suite annotate`: a remark that reports show."""

from __future__ import annotations

from pathlib import Path

import click

from foundation.errors import UserError
from foundation.text import printable
from suite import exit_codes
from suite.author import author
from suite.cli.output import print_line
from suite.cli.places import inventory_option
from suite.cli.stores import opened_store
from suite.store.acceptances import accept_points, newest_point, regressed_points
from suite.store.finding import find_run, find_series_or_run
from suite.store.history import Series

_LONGEST = 2000


@click.command()
@click.argument("target", metavar="SERIES|RUN")
@click.option("--why", required=True, metavar="TEXT", help="The reason, for those who read the history later.")
@click.option("--run", "run_text", metavar="RUN", help="Of a series: from this run on instead of its newest point.")
@inventory_option
def accept(target: str, why: str, run_text: str | None, inventory_path: Path) -> int:
    """Accept a new level: from its newest point on, a series is compared with what came since.

    Of a run, all its regressed series are accepted. Names may be shortened to parts that tell them apart.

    \b
    suite accept int8/latency_ms --why "the new kernel trades latency for memory"
    suite accept latest --why "new thermal paste"
    """
    reason = _said(why, "--why")
    with opened_store(inventory_path, read_only=False) as store:
        found = find_series_or_run(store, target)
        if isinstance(found, Series):
            points = [newest_point(store, found, None if run_text is None else find_run(store, run_text))]
        elif run_text is not None:
            raise UserError("--run goes with a series: leave it out, the run is named already.")
        else:
            points = regressed_points(store, found)
            if not points:
                raise UserError(
                    f"Nothing regressed in run {found}: name a series of `suite history` to accept its level."
                )
        accept_points(store, points, author(), reason)
    for point in points:
        print_line(f"accepted {point.series} from run {point.run_id} on")
    return exit_codes.OK


@click.command()
@click.argument("target", metavar="SERIES|RUN")
@click.argument("text")
@inventory_option
def annotate(target: str, text: str, inventory_path: Path) -> int:
    """Keep a remark about a series or a run; `suite history` and the reports show it.

    \b
    suite annotate 2026-11-22 "the lab had 31 degC"
    suite annotate jetson/int8/power_mw "meter replaced"
    """
    remark = _said(text, "TEXT")
    with opened_store(inventory_path, read_only=False) as store:
        found = find_series_or_run(store, target)
        if isinstance(found, Series):
            store.annotate(author(), remark, series_id=newest_point(store, found).series_id)
        else:
            store.annotate(author(), remark, run_id=found)
    print_line(f"noted on {found.name if isinstance(found, Series) else f'run {found}'}")
    return exit_codes.OK


def _said(text: str, where: str) -> str:
    if not text.strip():
        raise UserError(f"{where} is empty: say it in a few words.")
    if len(text) > _LONGEST:
        raise UserError(f"{where} has {len(text)} characters, {_LONGEST} are kept: shorten it.")
    return printable(text, _LONGEST)
