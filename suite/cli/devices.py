"""`suite devices`: what is in the inventory, and what can be measured there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from devices.entry import DeviceEntry
from devices.inspection import Inspection, Row, check_entry, support_of
from suite import exit_codes
from suite.cli.output import print_table
from suite.cli.places import inventory_option, opened
from suite.home import Home
from suite.meter_check import meter_rows

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unavailable": "-"}


@click.group("devices")
def devices_group() -> None:
    """List the devices of the inventory, or look at one."""


@devices_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def list_devices(as_json: bool, inventory_path: Path) -> int:
    """The devices of the inventory and how each is reached; contacts none of them."""
    inventory, _ = opened(inventory_path)
    rows = [support_of(entry) for entry in inventory.devices.values()]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        _print(rows)
    return exit_codes.OK


@devices_group.command("check")
@click.argument("selection", metavar="NAME[,NAME]", default="all")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check_devices(selection: str, as_json: bool, inventory_path: Path) -> int:
    """What is there, what is missing, and how to mend it.

    \b
    suite devices check local
    """
    inventory, home = opened(inventory_path)
    inspections = [_inspected(entry, home) for entry in inventory.select(selection)]
    if as_json:
        click.echo(json.dumps([_document(inspection) for inspection in inspections], indent=1))
    else:
        for inspection in inspections:
            click.echo(f"{inspection.device}:")
            _print(inspection.rows)
    return exit_codes.OK if all(inspection.usable for inspection in inspections) else exit_codes.ERROR


def _inspected(entry: DeviceEntry, home: Home) -> Inspection:
    """What is on the device, and the meter beside it."""
    found = check_entry(entry, home.locks)
    return dataclasses.replace(found, rows=(*found.rows, *meter_rows(entry)))


def _document(inspection: Inspection) -> dict[str, object]:
    return {
        "device": inspection.device,
        "usable": inspection.usable,
        "rows": [dataclasses.asdict(row) for row in inspection.rows],
        "facts": None if inspection.facts is None else inspection.facts.as_document(),
    }


def _print(rows: Sequence[Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "item", "what is there", "how to mend it"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in (_MARKS[row.state], row.item, row.detail, row.remedy)))
    print_table(table)
