"""`suite history`: the runs there are, and what one metric did over them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from suite import exit_codes
from suite.cli.places import inventory_option
from suite.errors import UserError, unknown_name
from suite.home import Home
from suite.store.history import SeriesSummary, series_list
from suite.store.history import history as points_of
from suite.store.source import StoreSource
from suite.store.store import Store


@click.command()
@click.argument("series", required=False)
@click.option("--runs", is_flag=True, help="List runs instead of series.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def history(series: str | None, runs: bool, as_json: bool, inventory_path: Path) -> int:
    """List the series, or print the points of one.

    \b
    suite history
    suite history local/smollm2-135m/prge/int8/xnnpack/q4/b4/T64/rank16/latency_ms
    suite history --runs
    """
    home = Home.locate(inventory_path)
    if not home.store_path.is_file():
        raise UserError(f"There is no history yet in {home.root}: measure first with `suite run --device local`.")
    store = Store.open(home.store_path, read_only=True)
    try:
        if runs:
            rows = [dataclasses.asdict(summary) for summary in StoreSource(store).runs()]
            lines = [f"{row['run_id']}  {row['status']}  {', '.join(row['devices'])}  {row['command']}" for row in rows]
        elif series is None:
            rows = [{"series": _name(item), **dataclasses.asdict(item)} for item in series_list(store)]
            lines = [
                f"{row['series']}  {_counted(row['points'], 'point')}, {_counted(row['segments'], 'segment')}"
                for row in rows
            ]
        else:
            item = _chosen(series, series_list(store))
            points = points_of(store, item.device, item.workload_key, item.metric)
            rows = [dataclasses.asdict(point) for point in points]
            lines = [
                f"{point.at}  {point.value:.6g}  {point.status}  segment {point.segment}  {point.run_id}"
                for point in points
            ]
    finally:
        store.close()
    click.echo(json.dumps(rows, indent=1) if as_json else "\n".join(lines) or "nothing stored yet")
    return exit_codes.OK


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _name(item: SeriesSummary) -> str:
    return f"{item.device}/{item.workload_key}/{item.metric}"


def _chosen(name: str, known: list[SeriesSummary]) -> SeriesSummary:
    for item in known:
        if _name(item) == name:
            return item
    raise unknown_name("series", name, (_name(item) for item in known))
