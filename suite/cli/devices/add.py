"""`suite devices add`: adds a device to the inventory; `suite devices schema`: its JSON Schema, for editors."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from devices.inventory.editing import add_device
from devices.inventory.entry import KIND_DEFAULTS
from devices.inventory.json_schema import inventory_schema
from devices.inventory.reading import load
from suite import exit_codes
from suite.cli.options import inventory_option
from suite.cli.output import print_json, print_plain


@click.command("add")
@click.argument("name")
@click.option("--kind", required=True, help=f"One of {', '.join(KIND_DEFAULTS)}.")
@click.option("--host", help="Name or address; for SSH, or adb over the network.")
@click.option("--port", type=int, help="Where it listens, if not where its kind usually does.")
@click.option("--user", help="Who to log in as.")
@click.option("--serial", help="Which phone, as `adb devices` lists it.")
@click.option("--key-file", help="The private key to log in with: a whole path, or one from ~/.")
@click.option("--password-env", metavar="VARIABLE", help="Environment variable that holds the password.")
@click.option("--transport", help="ssh, adb or local, if not the one of its kind.")
@click.option("--workdir", help="The device's folder for programs and jobs.")
@click.option("--threads", type=int, help="Threads of the runner.")
@click.option("--cpus", help="CPUs of the runner, such as 4-7.")
@click.option("--notes", help="A remark for people.")
@inventory_option
def add(name: str, inventory_path: Path, **values: Any) -> int:
    """Write a device into the inventory; what else is in the file stays as it is.

    \b
    suite devices add jetson --kind jetson --host 192.168.1.30 --user bench
    suite devices add phone --kind android --serial R5CT10ABCDE
    """
    add_device(inventory_path, name, {key: value for key, value in values.items() if value is not None})
    entry = load(inventory_path).devices[name]
    print_plain(f"{inventory_path} has the device {name} now ({entry.kind}, {entry.transport})")
    where = "" if inventory_path == Path("inventory.yaml") else f" --inventory {shlex.quote(str(inventory_path))}"
    step = f"suite devices {'check' if entry.transport == 'local' else 'enroll'} {name}{where}"
    print_plain(f"next: {step}")
    return exit_codes.OK


@click.command("schema")
def schema() -> int:
    """Print the JSON Schema of the inventory.

    \b
    suite devices schema > inventory.schema.json
    """
    print_json(inventory_schema())
    return exit_codes.OK
