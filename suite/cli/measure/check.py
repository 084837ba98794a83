"""`suite check`: the suite measures itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from foundation.errors import UserError
from suite import exit_codes
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import print_json
from suite.display import Display
from suite.home import in_use
from suite.measuring.overhead import sampler_overhead
from suite.planning import forecast
from suite.planning.plan import Plan, RunPlan


@click.command()
@click.option("--overhead", is_flag=True, help="What the sampler costs: sessions with and without it, in turn.")
@click.option("--device", "selection", default="local", show_default=True, help="One device of the inventory.")
@click.option("--model", default="smollm2-135m", show_default=True, help="The model whose steps are timed.")
@click.option("--quant", default="int8-dynamic", show_default=True, help="The setting whose steps are timed.")
@click.option("-q", "q", default=4, show_default=True, help="Queries of a step.")
@click.option("-b", "b", default=4, show_default=True, help="Rows of a batch.")
@click.option("-T", "T", default=64, show_default=True, help="Tokens of a row.")
@click.option("--sessions", default=5, show_default=True, help="Sessions with and sessions without.")
@click.option("--steps", default=10, show_default=True, help="Measured steps of a session.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check(overhead: bool, selection: str, quant: str, as_json: bool, inventory_path: Path, **settings: Any) -> int:
    """Check what the suite itself costs.

    \b
    suite check --overhead --device local --quant nf4
    """
    if not overhead:
        raise UserError("Nothing to check is named: add --overhead.")
    inventory, home = open_inventory(inventory_path)
    entries = inventory.select(selection)
    if len(entries) != 1:
        raise UserError(f"{selection} names {len(entries)} devices: name one.")
    plan = Plan(devices=(entries[0].name,), quants=(quant,), **settings)
    forecast.check(RunPlan((plan,)), inventory)
    with in_use(home):
        found = sampler_overhead(plan, entries[0], home, Display())
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        click.echo(str(found))
    return exit_codes.OK
