"""`suite devices`: what is in the inventory, what can be measured on devices and by meters beside them, and how to fix
what is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from devices.access.inspection import Inspection, Row, check_entry, support_of
from devices.inventory.entry import DeviceEntry
from suite.cli.completion import complete_devices
from suite.cli.lazy import Later, LazyGroup
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import TextTable, print_json, print_plain, print_table
from suite.errors import ExitCode
from suite.home import Home

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unavailable": "-"}


def _print_rows(rows: Sequence[Row]) -> None:
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
    "enroll": Later("suite.cli.devices.add", "enroll", "Take a host key, or have a phone authorise you."),
    "remove": Later("suite.cli.devices.add", "remove", "Take a device out of the inventory."),
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
        _print_rows(rows)
    return ExitCode.OK


@devices_group.command("check", short_help="What is there, what is missing, how to mend it.")
@click.argument("selection", metavar="NAME[,NAME]", default="all", shell_complete=complete_devices)
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
            _print_rows(inspection.rows)
    return ExitCode.OK if all(inspection.usable for inspection in inspections) else ExitCode.ERROR


def _inspected(entry: DeviceEntry, home: Home) -> Inspection:
    """Returns what is on the device, and the meter beside it."""
    from suite.energy.meter_program import meter_rows  # loads numpy, which a list of the inventory does not need

    found = check_entry(entry, home.locks)
    return dataclasses.replace(found, rows=(*found.rows, *meter_rows(entry)))


def _document(inspection: Inspection) -> dict[str, object]:
    return {
        "device": inspection.device,
        "usable": inspection.usable,
        "rows": [dataclasses.asdict(row) for row in inspection.rows],
        "facts": None if inspection.facts is None else inspection.facts.as_document(),
    }
