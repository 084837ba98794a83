"""`suite devices`: what is in the inventory, and what can be measured there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from devices.inspection import support_of
from suite import exit_codes
from suite.cli.device_rows import print_rows
from suite.cli.inventories import opened
from suite.cli.lazy import Later, LazyGroup
from suite.cli.output import print_json
from suite.cli.places import inventory_option

_LATER = {
    "add": Later("suite.cli.devices_add", "add", "Write a device into the inventory."),
    "calibrate": Later("suite.cli.devices_calibrate", "calibrate_device", "Find unit and sign of a power gauge."),
    "check": Later("suite.cli.devices_check", "check_devices", "What is there, what is missing, how to mend it."),
    "enroll": Later("suite.cli.devices_enroll", "enroll", "Take a host key, or have a phone authorise you."),
    "schema": Later("suite.cli.devices_add", "schema", "Print the JSON Schema of the inventory."),
}


@click.group("devices", cls=LazyGroup, later=_LATER)
def devices_group() -> None:
    """List the devices of the inventory, or look at one."""


@devices_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def list_devices(as_json: bool, inventory_path: Path) -> int:
    """List the devices and how each is reached; contacts none."""
    inventory, _ = opened(inventory_path)
    rows = [support_of(entry) for entry in inventory.devices.values()]
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_rows(rows)
    return exit_codes.OK
