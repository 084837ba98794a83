"""`suite devices`: lists the inventory, and checks what can be measured on devices and by their meters.

`check` also prints how to fix what is missing. `add` and `remove` change the inventory; `enroll` writes a device's
host key into it after the user has compared the key; `schema` prints the inventory's JSON Schema, for editors.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from devices.access.inspection import Inspection, Row, check_entry, support_of
from devices.errors import HostKeyRefused, InventoryError
from devices.inventory.entry import KIND_DEFAULTS, DeviceEntry, inventory_schema
from devices.inventory.inventory_file import add_device, change_device, load, remove_device
from suite.cli.completion import complete_device, complete_devices
from suite.cli.lazy import Later, LazyGroup
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_plain, print_table
from suite.errors import ExitCode
from suite.home import Home

if TYPE_CHECKING:
    from devices.transports.ssh.endpoint import Endpoint


_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unavailable": "-"}


def _print_rows(rows: Sequence[Row]) -> None:
    """Prints the rows as a table. Their text may come from a device."""
    table = TextTable(pads=True)
    for name in ("", "item", "what is there", "how to fix it"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_texts((_MARKS[row.state], row.item, row.detail, row.remedy))
    print_table(table)


_LATER = {"calibrate": Later("suite.cli.devices.calibrate", "calibrate_device", "Find unit and sign of a power gauge.")}


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


@devices_group.command("check", short_help="Check what is there, and how to fix what is missing.")
@click.argument("selection", metavar="NAME[,NAME]", default="all", shell_complete=complete_devices)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check_devices(selection: str, as_json: bool, inventory_path: Path) -> int:
    """Check what is there, what is missing, and how to fix it.

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
    """Returns what is on the device, and the state of its meter."""
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


# Enough to find the phone, unlock it and read its question.
_ANSWER_S = 120.0


@devices_group.command("add", short_help="Write a device into the inventory.")
@click.argument("name")
@click.option("--kind", required=True, help=f"One of {', '.join(KIND_DEFAULTS)}.")
@click.option("--host", help="Name or address; for SSH, or adb over the network.")
@click.option("--port", type=int, help="Port, if not the usual one of its kind.")
@click.option("--user", help="User to log in as.")
@click.option("--serial", help="Serial number of the phone, as `adb devices` lists it.")
@click.option("--key-file", help="Private key to log in with: an absolute path, or one that begins with ~/.")
@click.option("--password-env", metavar="VARIABLE", help="Environment variable that holds the password.")
@click.option("--transport", help="ssh, adb or local, if not the one of its kind.")
@click.option("--workdir", help="The device's folder for programs and jobs.")
@click.option("--threads", type=int, help="Threads of the runner.")
@click.option("--cpus", help="CPUs of the runner, such as 4-7.")
@click.option("--notes", help="A remark for people.")
@inventory_option
def add(name: str, inventory_path: Path, **values: Any) -> int:
    """Write a device into the inventory; the rest of the file is not changed.

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
    return ExitCode.OK


@devices_group.command("remove", short_help="Take a device out of the inventory.")
@click.argument("name", shell_complete=complete_device)
@inventory_option
def remove(name: str, inventory_path: Path) -> int:
    """Take a device out of the inventory and its groups; the rest of the file is not changed.

    Its measurements stay. Clear the cache on the device first, while it can be reached.

    \b
    suite gc --device jetson --keep-artifacts-days 0
    suite devices remove jetson
    """
    before = load(inventory_path)
    entry = remove_device(inventory_path, name)
    print_plain(f"{inventory_path} has no device {name} any more")
    after = load(inventory_path)
    for group, members in before.groups.items():
        if name in members:
            print_plain(f"nor has its group {group}{'' if after.groups[group] else ', which is empty now'}")
    print_line(
        "its measurements and reports stay; `suite gc` removes programs and runners that only it needed, some time "
        "after their last use"
    )
    print_plain(f"files on the device itself stay too, in {entry.workdir}")
    return ExitCode.OK


@devices_group.command("schema", short_help="Print the JSON Schema of the inventory.")
def schema() -> int:
    """Print the JSON Schema of the inventory.

    \b
    suite devices schema > inventory.schema.json
    """
    print_json(inventory_schema())
    return ExitCode.OK


@devices_group.command("enroll", short_help="Take a host key, or have a phone authorise you.")
@click.argument("name", shell_complete=complete_device)
@click.option(
    "--fingerprint", help="The expected fingerprint of the device's key: SHA256:…, as printed by `ssh-keygen -l`."
)
@click.option("--jump-fingerprint", multiple=True, help="The same for a jump host; once for each.")
@click.option("--yes", is_flag=True, help="Don't ask; needs --fingerprint.")
@inventory_option
def enroll(
    name: str, fingerprint: str | None, jump_fingerprint: tuple[str, ...], yes: bool, inventory_path: Path
) -> int:
    """Write an SSH device's host key into the inventory, after you have compared it; have a phone authorise you.

    \b
    suite devices enroll jetson
    suite devices enroll phone
    suite devices enroll jetson --yes --fingerprint SHA256:…
    """
    if yes and not fingerprint:
        raise click.UsageError("--yes needs --fingerprint: a key that nobody compared is not to be trusted")
    inventory, _ = open_inventory(inventory_path)
    if name not in inventory.devices:
        inventory.select(name)
        raise InventoryError(f"{name!r} is a selection; enroll one device at a time, by its name.")

    if inventory.devices[name].transport == "adb":
        return _authorise(inventory.devices[name])
    from devices.access.enrollment import enroll as enroll_entry  # loads libraries that `add` does not need

    def judge(endpoint: Endpoint, text: str) -> None:
        expected = jump_fingerprint if endpoint.is_jump else (fingerprint,) if fingerprint else ()
        print_line(f"{endpoint.label} presents the host key")
        print_line(f"  {text}")
        if expected:
            _compare(endpoint, text, expected)
        if not expected or not yes:
            _ask(endpoint, text)

    values = enroll_entry(inventory.devices[name], judge)
    if not values:
        print_line(f"{name} is enrolled already and presents the same key")
        return ExitCode.OK
    change_device(inventory_path, name, values)
    print_line(f"{inventory_path} has the host key of {name} now; next: suite devices check {name}")
    return ExitCode.OK


def _authorise(entry: DeviceEntry) -> int:
    """Waits for consent on the phone. Over adb the phone asks and keeps the answer, so nothing is written here."""
    from devices.access.enrollment import await_authorisation  # its library takes a while to load

    print_line(f"{entry.name} is reached by adb: nothing is written, as the phone itself remembers who may use it")
    await_authorisation(entry, print_line, wait_s=_ANSWER_S if sys.stdin.isatty() else 0.0)
    print_line(f"{entry.name} has authorised this computer and answers; next: suite devices check {entry.name}")
    return ExitCode.OK


def _compare(endpoint: Endpoint, text: str, expected: Sequence[str]) -> None:
    if text.split()[-1:] not in [one.split()[-1:] for one in expected]:
        raise HostKeyRefused(
            f"{endpoint.label} presents the host key {text}, but {' or '.join(expected)} was expected; nothing was "
            "written: check on the device itself which of them is its own."
        )


def _ask(endpoint: Endpoint, text: str) -> None:
    if not sys.stdin.isatty():
        option = "--jump-fingerprint" if endpoint.is_jump else "--fingerprint"
        raise HostKeyRefused(
            f"{endpoint.label} presents the host key {text}, and there is no terminal to ask on; nothing was written: "
            f"compare it and pass it with --yes {option} {text.split()[-1]}."
        )
    kind = text.split()[0].removeprefix("ssh-").split("-")[0]
    print_line("compare it with what this prints on the device itself:")
    print_line(f"  ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub")
    if not click.confirm("Is it the same?"):
        raise HostKeyRefused(
            f"{endpoint.label} was not enrolled and nothing was written; find out which machine answers."
        )
