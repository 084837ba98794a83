"""`suite devices check`: a table of what is there, what is missing and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devices.access.connect import Device, connect, require_support
from devices.checks.facts import Facts, hardware_words
from devices.checks.preflight import Needs
from devices.errors import DeviceError, UnsupportedDevice
from devices.inventory.entry import DeviceEntry
from devices.sensors.spec import Discovery

State = Literal["ok", "warning", "failed", "unavailable"]


@dataclass(frozen=True)
class Row:
    """A row of the table. `remedy` is empty if nothing is wrong, or if nothing can be done about it."""

    item: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Inspection:
    """The findings on one device. `facts` and `sensors` are None if it could not be reached."""

    device: str
    rows: tuple[Row, ...]
    facts: Facts | None = None
    sensors: Discovery | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be measured: no check failed. Warnings and missing sensors don't count."""
        return all(row.state != "failed" for row in self.rows)


def check(device: Device, needs: Needs | None = None) -> Inspection:
    """Inspects a connected device. Raises `DeviceError` if it goes away meanwhile."""
    facts, found = device.facts(), device.sensors()
    rows = [Row("device", "ok", _summary(facts))]
    if device.left_over_pid is not None:
        rows.append(Row("left over", "ok", f"runner {device.left_over_pid} of an earlier run was ended"))
    rows += [Row(item.name, item.status, item.detail, item.remedy) for item in device.preflight(needs or Needs())]
    rows += [Row(f"sensor {item.name}", "ok", f"{item.quantity}: {item.method}") for item in found.sensors]
    rows += [
        Row(f"sensor {gap.name}", "unavailable", f"{gap.quantity}: {gap.reason}", gap.remedy or "")
        for gap in found.unavailable
    ]
    return Inspection(device.entry.name, tuple(rows), facts, found)


def check_entry(entry: DeviceEntry, locks_dir: Path, *, needs: Needs | None = None, root: str = "/") -> Inspection:
    """Connects and inspects; a device that is busy, lost or unsupported becomes a failed row."""
    try:
        with connect(entry, locks_dir, root=root) as device:
            return check(device, needs)
    except (DeviceError, UnsupportedDevice) as error:
        return Inspection(entry.name, (_unreached(str(error)),))


def _unreached(sentence: str) -> Row:
    """Splits one of our sentences into its cause and the next action, which follows a semicolon."""
    cause, mark, action = sentence.rpartition("; ")
    return Row("connection", "failed", cause, action) if mark else Row("connection", "failed", sentence)


def support_of(entry: DeviceEntry) -> Row:
    """Returns the entry's line in `suite devices list`: how it is reached, if supported; contacts nothing."""
    address = entry.host or entry.serial or "this machine"
    where = f"{entry.kind} over {entry.transport}: {address}{f':{entry.port}' if entry.port else ''}, {entry.workdir}"
    try:
        require_support(entry)
    except UnsupportedDevice as error:
        return Row(entry.name, "failed", where, str(error))
    return Row(entry.name, "ok", where)


def _summary(facts: Facts) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in facts.settings.items())
    parts = [*hardware_words(facts.as_document()), facts.os_build, facts.kernel, settings]
    if facts.virtual_machine:
        parts.append(f"virtual machine ({facts.virtual_machine})")
    return "; ".join(part for part in parts if part)
