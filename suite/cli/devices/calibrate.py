"""`suite devices calibrate`: finds the unit and sign of a device's power gauge."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import click

from devices.access.connect import connect
from devices.inventory.inventory_file import change_device
from foundation.errors import UserError
from foundation.text import printable
from suite.cli.completion import complete_device
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import print_json, print_line, print_plain
from suite.energy.calibration import Calibration, calibrate
from suite.errors import ExitCode

_DEFAULT_SECONDS = 10.0


@click.command("calibrate")
@click.argument("name", shell_complete=complete_device)
@click.option("--yes", is_flag=True, help="Write the result into the inventory without asking.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0, max=600.0),
    default=_DEFAULT_SECONDS,
    show_default=True,
    help="Length of each stretch: idle, computing, idle again.",
)
@click.option(
    "--meter-mw",
    type=click.FloatRange(min=1.0, max=1e6),
    help="A meter's reading while all cores are busy, in mW: finds any factor, such as 2 for one of two cells.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; write only with --yes.")
@inventory_option
def calibrate_device(
    name: str, yes: bool, seconds: float, meter_mw: float | None, as_json: bool, inventory_path: Path
) -> int:
    """Find the unit and sign of a device's power gauge by comparing load with idle, and write them to the inventory.

    Unplug the charger first; a phone has to be reached over Wi-Fi for this.

    \b
    suite devices calibrate phone
    suite devices calibrate phone --seconds 120 --yes
    suite devices calibrate phone --meter-mw 3600
    """
    if math.isnan(seconds) or (meter_mw is not None and math.isnan(meter_mw)):
        raise click.UsageError("--seconds and --meter-mw take numbers, and nan is not one")
    inventory, home = open_inventory(inventory_path)
    chosen = inventory.select(name)
    if len(chosen) != 1:
        raise UserError(f"{printable(name)!r} stands for {len(chosen)} devices: name one to calibrate.")
    (entry,) = chosen
    if not as_json:
        print_plain(f"{entry.name} idles, computes on all cores and idles again, {seconds:g} s each", err=True)
    with connect(entry, home.locks) as device:
        found = calibrate(device, seconds, meter_mw)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        print_line(str(found))
    if yes or (not as_json and click.confirm(_question(found, inventory_path))):
        change_device(inventory_path, entry.name, {"power": {"scale": found.scale, "sign": found.sign}})
        print_plain(f"written to {inventory_path}; `suite devices check {entry.name}` prints the power", err=as_json)
    elif not as_json:
        print_plain(f"{inventory_path} was not changed")
    return ExitCode.OK


def _question(found: Calibration, path: Path) -> str:
    return f"Write power: {{scale: {found.scale:g}, sign: {found.sign}}} into {path}?"
