"""`suite devices check`: what can be measured on devices and by meters beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from devices.access.inspection import Inspection, check_entry
from devices.inventory.entry import DeviceEntry
from suite import exit_codes
from suite.cli.devices.list import print_rows
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import print_json, print_plain
from suite.energy.meter_program import meter_rows
from suite.home import Home


@click.command("check")
@click.argument("selection", metavar="NAME[,NAME]", default="all")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check_devices(selection: str, as_json: bool, inventory_path: Path) -> int:
    """What is there, what is missing, and how to mend it.

    \b
    suite devices check local
    """
    inventory, home = open_inventory(inventory_path)
    inspections = [_inspected(entry, home) for entry in inventory.select(selection)]
    if as_json:
        print_json([_document(inspection) for inspection in inspections])
    else:
        for inspection in inspections:
            print_plain(f"{inspection.device}:")
            print_rows(inspection.rows)
    return exit_codes.OK if all(inspection.usable for inspection in inspections) else exit_codes.ERROR


def _inspected(entry: DeviceEntry, home: Home) -> Inspection:
    """Returns what is on the device, and the meter beside it."""
    found = check_entry(entry, home.locks)
    return dataclasses.replace(found, rows=(*found.rows, *meter_rows(entry)))


def _document(inspection: Inspection) -> dict[str, object]:
    return {
        "device": inspection.device,
        "usable": inspection.usable,
        "rows": [dataclasses.asdict(row) for row in inspection.rows],
        "facts": None if inspection.facts is None else inspection.facts.as_document(),
    }
