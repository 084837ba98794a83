"""Sets a power mode on a device temporarily, and restores the previous settings.

The previous settings are noted on the device before anything changes, so that they can be restored whatever happens in
between: an error, a killed process, a lost connection. The next run that sets a mode restores them first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices.access.connect import Device
from devices.checks.facts import read_policies
from devices.errors import DeviceError, FileError
from devices.inventory.power_modes import PowerMode
from devices.sensors.reading import ask
from foundation.text import printable

_NOTE = "power_mode.json"
_TIMEOUT_S = 60.0
_POLICIES = "sys/devices/system/cpu/cpufreq"

# nvpmodel asks on standard input whether to restart the board, if a mode needs that. It gets no answer.
_UNANSWERED = 'exec "$@" </dev/null 2>&1'
_WRITE = 'while [ $# -gt 1 ]; do printf %s "$1" > "$2"; shift 2; done'


class PowerModeError(DeviceError):
    """A mode can't be set, or the previous settings can't be restored."""


class _Earlier(BaseModel):
    """A device's previous settings."""

    model_config = ConfigDict(strict=True, extra="forbid")

    nvpmodel: Annotated[int, Field(ge=0, le=255)] | None = None
    governors: dict[Annotated[str, Field(pattern=r"^policy\d+$")], Annotated[str, Field(pattern=r"^\w{1,32}$")]] = {}


def set_power_mode(device: Device, name: str, mode: PowerMode) -> None:
    """Sets what a mode changes on the device; its cores concern only the runner.

    Raises PowerModeError, with everything unchanged, if it can't be set: root, the program or the governor is missing,
    or a restart would be needed.
    """
    restore_power_mode(device)
    if not mode.changes_device:
        return
    earlier = _earlier(device, name, mode)
    device.transport.mkdir(device.places.workdir)
    device.transport.write(_note(device), earlier.model_dump_json().encode())
    try:
        if mode.nvpmodel is not None:
            _set_nvpmodel(device, name, mode.nvpmodel)
        if mode.governor is not None:
            _set_governors(device, name, dict.fromkeys(earlier.governors, mode.governor))
    except PowerModeError:
        restore_power_mode(device)
        raise


def restore_power_mode(device: Device) -> str | None:
    """Restores the noted settings and describes them; None if no mode was left set. Raises PowerModeError."""
    try:
        text = device.transport.read_text(_note(device))
    except FileError:
        return None
    try:
        earlier = _Earlier.model_validate_json(text)
    except ValidationError as error:
        raise PowerModeError(
            f"the previous power mode of {device.entry.name!r} can't be read from {_note(device)}: set the mode by "
            "hand and remove the file"
        ) from error
    if earlier.nvpmodel is not None:
        _set_nvpmodel(device, "previous", earlier.nvpmodel)
    _set_governors(device, "previous", earlier.governors)
    device.transport.remove(_note(device))
    modes = [] if earlier.nvpmodel is None else [f"nvpmodel {earlier.nvpmodel}"]
    return ", ".join([*modes, *sorted({f"governor {governor}" for governor in earlier.governors.values()})])


def _note(device: Device) -> str:
    return posixpath.join(device.places.workdir, _NOTE)


def _earlier(device: Device, name: str, mode: PowerMode) -> _Earlier:
    """Returns the current settings. Raises PowerModeError if they can't be read, as they could not be restored."""
    number, governors = None, {}
    if mode.nvpmodel is not None:
        number = _nvpmodel_now(device)
        if number is None:
            raise PowerModeError(
                f"power mode {name!r} is nvpmodel {mode.nvpmodel}, and `nvpmodel -q` does not report the current "
                "mode, so it could not be restored: let this user run it, or leave the mode out"
            )
    if mode.governor is not None:
        governors = {policy.name: policy.governor for policy in read_policies(device.tree) if policy.governor}
        if not governors:
            raise PowerModeError(
                f"power mode {name!r} is governor {mode.governor}, and /{_POLICIES} has no cpufreq policy (usual in a "
                "virtual machine): leave the mode out"
            )
    return _Earlier(nvpmodel=number, governors=governors)


def _nvpmodel_now(device: Device) -> int | None:
    program = device.tree.program("nvpmodel")
    lines = (ask(device.tree, [program, "-q"]).text or "").splitlines() if program is not None else []
    numbers = [line.strip() for line in lines if line.strip().isdecimal()]
    return int(numbers[-1]) if numbers else None


def _set_nvpmodel(device: Device, name: str, number: int) -> None:
    if _nvpmodel_now(device) == number:
        return
    program = device.tree.program("nvpmodel") or "nvpmodel"
    output = _as_root(device, name, ["sh", "-c", _UNANSWERED, "sh", program, "-m", str(number)])
    if _nvpmodel_now(device) == number:
        return
    if "reboot" in output.lower():
        raise PowerModeError(
            f"power mode {name!r} (nvpmodel {number}) needs a restart of {device.entry.name!r}, which the suite does "
            f"not do: set it with `sudo nvpmodel -m {number}`, restart the board and measure this mode separately"
        )
    raise PowerModeError(
        f"power mode {name!r} (nvpmodel {number}) was not accepted: {printable(output.strip(), 200) or 'no message'}"
        "; `cat /etc/nvpmodel.conf` lists the board's modes"
    )


def _set_governors(device: Device, name: str, governors: Mapping[str, str]) -> None:
    """Sets as many of the policies' governors as it can.

    Raises PowerModeError if one doesn't exist or isn't accepted.
    """
    files = {policy: f"{_POLICIES}/{policy}/scaling_governor" for policy in governors}
    choices = {policy: f"{_POLICIES}/{policy}/scaling_available_governors" for policy in governors}
    texts = device.tree.read([*files.values(), *choices.values()])
    others = [policy for policy, governor in governors.items() if texts.text(files[policy]) != governor]
    offered = {policy: texts.text(choices[policy]) or governors[policy] for policy in others}
    there = [policy for policy in others if governors[policy] in offered[policy].split()]
    arguments = [word for policy in there for word in (governors[policy], device.tree.path(files[policy]))]
    output = _as_root(device, name, ["sh", "-c", _WRITE, "sh", *arguments]) if there else ""
    texts = device.tree.read([files[policy] for policy in others])
    for policy in others:
        if policy not in there:
            raise PowerModeError(
                f"power mode {name!r} is governor {governors[policy]}, and {policy} of {device.entry.name!r} has "
                f"{printable(offered[policy], 200)}: name one of them"
            )
        if texts.text(files[policy]) != governors[policy]:
            raise PowerModeError(
                f"power mode {name!r} (governor {governors[policy]}) was not accepted by {policy} of "
                f"{device.entry.name!r}: {printable(output.strip(), 200) or 'the kernel gave no reason'}"
            )


def _as_root(device: Device, name: str, command: Sequence[str]) -> str:
    """Runs a command as root and returns its output. Raises PowerModeError without the right to do so."""
    if device.transport.run(["id", "-u"], timeout_s=_TIMEOUT_S).stdout.strip() != "0":
        sudo = device.tree.program("sudo")
        allowed = sudo is not None and device.transport.run([sudo, "-n", "true"], timeout_s=_TIMEOUT_S).end.rc == 0
        if not allowed:
            raise PowerModeError(
                f"power mode {name!r} can only be set by root on {device.entry.name!r}: log in as root, or let this "
                "user run sudo without a password; or compare sets of cores (`cpus`), which need no rights"
            )
        command = [sudo or "sudo", "-n", *command]
    result = device.transport.run(command, timeout_s=_TIMEOUT_S)
    return result.stdout + result.end.stderr_tail
