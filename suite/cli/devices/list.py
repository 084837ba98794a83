"""`suite devices`: what is in the inventory, what can be measured there, and how to fix what is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from devices.access.inspection import Row, support_of
from suite import exit_codes
from suite.cli.lazy import Later, LazyGroup
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import TextTable, print_json, print_table

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unavailable": "-"}


def print_rows(rows: Sequence[Row]) -> None:
    """Prints the rows as a table; their text may come from a device."""
    table = TextTable(pads=True)
    for name in ("", "item", "what is there", "how to mend it"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_texts((_MARKS[row.state], row.item, row.detail, row.remedy))
    print_table(table)


_LATER = {
    "add": Later("suite.cli.devices.add", "add", "Write a device into the inventory."),
    "calibrate": Later("suite.cli.devices.calibrate", "calibrate_device", "Find unit and sign of a power gauge."),
    "check": Later("suite.cli.devices.check", "check_devices", "What is there, what is missing, how to mend it."),
    "enroll": Later("suite.cli.devices.enroll", "enroll", "Take a host key, or have a phone authorise you."),
    "schema": Later("suite.cli.devices.add", "schema", "Print the JSON Schema of the inventory."),
}


@click.group("devices", cls=LazyGroup, later=_LATER)
def devices_group() -> None:
    """List the devices of the inventory, or look at one."""


@devices_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def list_devices(as_json: bool, inventory_path: Path) -> int:
    """List the devices and how each is reached; contacts none."""
    inventory, _ = open_inventory(inventory_path)
    rows = [support_of(entry) for entry in inventory.devices.values()]
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_rows(rows)
    return exit_codes.OK
