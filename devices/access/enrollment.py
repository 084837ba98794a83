"""Enrols a device: its host keys are compared and written to the inventory; a phone asks its owner instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import paramiko

from devices.errors import UnsupportedDevice
from devices.inventory.entry import DeviceEntry, JumpHost
from devices.processes import Deadline
from devices.transports.adb.attachment import AUTHORISE, UNAUTHORISED, Unauthorised, attach, target_of
from devices.transports.adb.server import AdbServer
from devices.transports.ssh.authentication import log_in
from devices.transports.ssh.connection import shake_hands
from devices.transports.ssh.endpoint import Endpoint, endpoints, host_key_text, jump_of, require_enrolled

Judge = Callable[[Endpoint, str], None]


def enroll(entry: DeviceEntry, judge: Judge) -> Mapping[str, Any]:
    """Returns the values to set in the entry; empty if all keys are already enrolled.

    `judge` gets each server without a key in the inventory, with the key it presents, and raises unless that key is
    right. Raises `HostKeyRefused` for a changed key, `DeviceLost` for a server that doesn't answer, `AccessRefused` if
    the jump host doesn't let us through.
    """
    if entry.transport != "ssh":
        raise UnsupportedDevice(
            f"device {entry.name!r} is reached by {entry.transport!r}, which has no host key; only ssh devices are "
            "enrolled."
        )
    found: dict[Endpoint, str] = {}
    connections: list[paramiko.Transport] = []
    try:
        for endpoint in endpoints(entry):
            through = connections[-1] if connections else None
            transport, key = shake_hands(endpoint, entry.connect_timeout_s, through=through)
            connections.append(transport)
            text = host_key_text(key)
            if endpoint.host_keys:
                require_enrolled(endpoint, key)
            else:
                judge(endpoint, text)
                found[endpoint] = text
            if endpoint.is_jump:
                log_in(transport, replace(endpoint, host_keys=(text,)))
    finally:
        for transport in reversed(connections):
            transport.close()
    *jumps, device = endpoints(entry)
    values: dict[str, Any] = {"host_keys": [found[device]]} if device in found else {}
    if any(jump in found for jump in jumps):
        values["jump"] = _jumps_with_keys(jump_of(entry), jumps, found)
    return values


def _jumps_with_keys(
    jump: JumpHost | None, endpoints_before: Sequence[Endpoint], found: Mapping[Endpoint, str]
) -> dict[str, Any]:
    """Returns the jump hosts as nested in the inventory, each inside the one after it, with their new keys."""
    if jump is None:
        return {}
    *before, own = endpoints_before
    values = jump.model_dump(exclude_unset=True, exclude={"jump"}, exclude_none=True)
    if own in found:
        values["host_keys"] = [found[own]]
    return values | ({"jump": _jumps_with_keys(jump.jump, before, found)} if before else {})


_POLL_S = 0.3
_QUESTION_TIMEOUT_S = 5.0


def await_authorisation(
    entry: DeviceEntry, notify: Callable[[str], None], *, wait_s: float, server: AdbServer | None = None
) -> None:
    """Waits until the device answers; its owner has `wait_s` to authorise this computer on a phone.

    Raises `Unauthorised` after that time, and what `attach` raises.
    """
    server = server or AdbServer.from_environment()
    try:
        attach(entry, server)
        return
    except Unauthorised:
        if wait_s <= 0:
            raise
    notify(f"{target_of(entry).label} has not authorised this computer yet: {AUTHORISE}; waiting {wait_s:.0f} s")
    deadline = Deadline(wait_s)
    while deadline.remaining_s() and _state(entry, server) == UNAUTHORISED:
        time.sleep(_POLL_S)
    attach(entry, server)


def _state(entry: DeviceEntry, server: AdbServer) -> str | None:
    serial = target_of(entry).serial
    attached = server.devices(timeout_s=_QUESTION_TIMEOUT_S)
    return next((one.state for one in attached if one.serial == serial), None)
