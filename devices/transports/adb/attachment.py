"""Turns an inventory entry into a phone that answers, connecting over the network if necessary.

Each unusable state of `adb devices` has a sentence on what to do on the phone.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from devices.errors import AccessRefused, DeviceError, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.processes import Deadline
from devices.transports.adb.server import AdbServer, Listed, ServiceRefused
from foundation.text import printable

READY = "device"
# Transient states before `device`, worth a moment's wait.
PASSING = frozenset({"offline", "connecting", "authorizing", "detached", "unknown"})

UNAUTHORISED = "unauthorized"
AUTHORISE = (
    "unlock it and answer 'Allow USB debugging?' with 'Always allow from this computer' (if it doesn't ask: Developer "
    "options, 'Revoke USB debugging authorisations', then reconnect it)"
)
_REFUSALS = {
    "no": "may not be opened by this user (adb: no permissions); install udev rules for it (on Debian the package "
    "android-sdk-platform-tools-common), join the group plugdev and plug it in again",
    "bootloader": "is in its bootloader; start Android on it",
    "recovery": "is in recovery mode; start Android on it",
    "rescue": "is in rescue mode; start Android on it",
    "sideload": "is waiting for an update to be sideloaded; start Android on it",
    "host": "is an adb server, not a device; check `host` and `port` in the inventory",
}
_ENABLE = "on the phone enable Developer options and 'USB debugging' there"


class Unauthorised(AccessRefused):
    """The phone doesn't accept this computer's adb key; only its owner can change that, on the phone."""

    def __init__(self, label: str) -> None:
        super().__init__(f"{label} has not authorised this computer; {AUTHORISE}, and run again.")


def refusal(label: str, state: str) -> DeviceError:
    """Returns the error for an unusable state: `AccessRefused` if a person has to act, else `DeviceLost`."""
    if state == UNAUTHORISED:
        return Unauthorised(label)
    refused = _REFUSALS.get(state.partition(" ")[0])  # "no permissions" is the only state of several words
    if refused is not None:
        return AccessRefused(f"{label} {refused}.")
    if state in PASSING:
        return DeviceLost(
            f"{label} is {state}: adb sees it, but it does not answer; unlock it, then unplug it and plug it in again "
            "(over Wi-Fi: switch wireless debugging off and on)."
        )
    return DeviceLost(f"{label} is in the state {printable(state, 40)!r}, which is not ready; see `adb devices`.")


def unknown(label: str, attached: Sequence[Listed]) -> DeviceLost:
    """Returns the error for a serial that isn't attached, listing those that are."""
    there = ", ".join(f"{printable(one.serial, 80)} ({printable(one.state, 20)})" for one in attached[:8])
    rest = f" and {len(attached) - 8} more" if len(attached) > 8 else ""
    others = f"adb has {len(attached)}: {there}{rest}" if attached else "adb has no device at all"
    return DeviceLost(
        f"{label} is not attached ({others}); plug it in, {_ENABLE}, or correct `serial` in the inventory."
    )


def unreachable(label: str, answer: str) -> DeviceLost:
    """Returns the error for a network device that adb could not connect to, with adb's own message."""
    return DeviceLost(
        f"{label} can't be reached over the network ({answer or 'no reason given'}); check that it is on and in the "
        "same network, with wireless debugging on (`adb pair` once, or `adb tcpip 5555` over a cable), and `host` and "
        "`port`."
    )


DEFAULT_PORT = 5555
# A service that every adb daemon has; it answers without starting a process.
_CHEAP_SERVICE = "sync:"
_POLL_S = 0.1
# How long a new server, perhaps started for another device, takes to find the devices on cables.
_ENUMERATION_S = 2.0
_CONNECTED = ("connected to", "already connected to")
_ADDRESS = re.compile(r".+:\d{1,5}", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """What the entry refers to: `serial` as adb lists it, and whether that is a network address."""

    device: str
    serial: str
    in_network: bool

    @property
    def label(self) -> str:
        """For messages."""
        return f"device {self.device!r} ({printable(self.serial, 120)})"


@dataclass(frozen=True)
class Attachment:
    """An attached device that has answered."""

    server: AdbServer
    target: Target
    transport_id: int

    def require_answer(self, timeout_s: float) -> None:
        """Asks the device itself for a sign of life, through the server. Raises `DeviceLost`."""
        label = self.target.label
        try:
            self.server.open(self.transport_id, _CHEAP_SERVICE, timeout_s=timeout_s).close()
        except TimeoutError as error:
            raise DeviceLost(
                f"{label} did not answer within {timeout_s:.3g} s; check that it is on and connected, then run again."
            ) from error
        except ServiceRefused as error:
            raise gone(label, error.reason) from error


def gone(label: str, reason: str) -> DeviceLost:
    """Returns the error for a device that was there before; `reason` is adb's message."""
    return DeviceLost(f"{label} is gone from adb ({reason}); check that it is on and connected, then run again.")


def target_of(entry: DeviceEntry) -> Target:
    """Returns the entry's target: on the network for a `host` or a `serial` that is an address, else on a cable."""
    if entry.host is None:
        serial = entry.serial or ""
        return Target(entry.name, serial, in_network=_ADDRESS.fullmatch(serial) is not None)
    host = f"[{entry.host}]" if ":" in entry.host and not entry.host.startswith("[") else entry.host
    return Target(entry.name, f"{host}:{entry.port or DEFAULT_PORT}", in_network=True)


def attach(entry: DeviceEntry, server: AdbServer | None = None) -> Attachment:
    """Finds the device, connecting to it if it is on the network, within `connect_timeout_s` (plus the server's start).

    Raises `AccessRefused` if somebody has to act on the phone or the host, `DeviceLost` otherwise.
    """
    server = server or AdbServer.from_environment()
    server.ensure()
    deadline = Deadline(entry.connect_timeout_s)
    target = target_of(entry)
    reach = _over_network if target.in_network else _on_cable
    attachment = reach(server, target, deadline)
    _require_shell_v2(attachment, deadline)
    return attachment


def _on_cable(server: AdbServer, target: Target, deadline: Deadline) -> Attachment:
    enumerated = Deadline(min(_ENUMERATION_S, deadline.timeout_s))
    while True:
        attached = server.devices(timeout_s=_remaining_s(deadline))
        found = _find(attached, target)
        if found is None and not enumerated.remaining_s():
            raise unknown(target.label, attached)
        if found is not None and found.state == READY:
            return _proved(server, target, found, _remaining_s(deadline))
        if found is not None and (found.state not in PASSING or not deadline.remaining_s()):
            raise refusal(target.label, found.state)
        time.sleep(_POLL_S)


def _over_network(server: AdbServer, target: Target, deadline: Deadline) -> Attachment:
    found = _find(server.devices(timeout_s=_remaining_s(deadline)), target)
    if found is not None and found.state == READY:
        # adb may remember a device that left silently: then it is reconnected.
        with contextlib.suppress(DeviceLost):
            return _proved(server, target, found, _remaining_s(deadline) / 3)
    if found is not None:
        # Otherwise `connect` would report that it is connected, whatever its state.
        server.disconnect(target.serial, timeout_s=_remaining_s(deadline))
    answer = server.connect(target.serial, timeout_s=_remaining_s(deadline))
    while True:
        found = _find(server.devices(timeout_s=_remaining_s(deadline)), target)
        if found is not None and found.state == READY:
            return _proved(server, target, found, _remaining_s(deadline))
        failed = found is not None and found.state == "offline" and not answer.startswith(_CONNECTED)
        if found is None or failed or not deadline.remaining_s():
            raise unreachable(target.label, answer)
        if found.state not in PASSING:
            raise refusal(target.label, found.state)
        time.sleep(_POLL_S)


def _proved(server: AdbServer, target: Target, found: Listed, timeout_s: float) -> Attachment:
    if found.transport_id is None:
        raise AccessRefused(f"{server.label} is too old to distinguish its devices; update Android's platform-tools.")
    attachment = Attachment(server, target, found.transport_id)
    attachment.require_answer(timeout_s)
    return attachment


def _require_shell_v2(attachment: Attachment, deadline: Deadline) -> None:
    label = attachment.target.label
    try:
        features = attachment.server.features(attachment.transport_id, timeout_s=_remaining_s(deadline))
    except ServiceRefused as error:
        raise gone(label, error.reason) from error
    if "shell_v2" not in features:
        raise AccessRefused(f"{label} has no shell protocol with exit codes; it needs Android 7 or newer.")


def _find(attached: tuple[Listed, ...], target: Target) -> Listed | None:
    return next((one for one in attached if one.serial == target.serial), None)


def _remaining_s(deadline: Deadline) -> float:
    """Returns the seconds for the next question: a moment even after the deadline, for a last answer."""
    return max(0.5, deadline.remaining_s())
