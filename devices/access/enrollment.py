"""Enrolls a device: its host keys are compared and written to the inventory; a phone asks its owner instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import paramiko

from devices.errors import UnsupportedDevice
from devices.inventory.entry import DeviceEntry
from devices.processes import Deadline
from devices.transports.adb.attachment import AUTHORISE, UNAUTHORISED, Unauthorised, attach, target_of
from devices.transports.adb.server import AdbServer
from devices.transports.ssh.authentication import log_in
from devices.transports.ssh.connection import shake_hands
from devices.transports.ssh.endpoint import Endpoint, endpoints, host_key_text, require_enrolled

Judge = Callable[[Endpoint, str], None]


def enroll(entry: DeviceEntry, judge: Judge) -> Mapping[str, Any]:
    """Returns the values to set in the entry; empty if all keys are already enrolled.

    `judge` gets each server without a key in the inventory, with the key it presents, and raises unless that is the
    right one. Raises `HostKeyRefused` for a changed key, `DeviceLost` for a server that doesn't answer, `AccessRefused`
    if the jump host doesn't let us through.
    """
    if entry.transport != "ssh":
        raise UnsupportedDevice(
            f"device {entry.name!r} is reached by {entry.transport!r}, which has no host key; only ssh devices are "
            "enrolled."
        )
    values: dict[str, Any] = {}
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
                values.update(_values(entry, endpoint, text))
            if endpoint.is_jump:
                log_in(transport, replace(endpoint, host_keys=(text,)))
    finally:
        for transport in reversed(connections):
            transport.close()
    return values


def _values(entry: DeviceEntry, endpoint: Endpoint, text: str) -> dict[str, Any]:
    if not endpoint.is_jump or entry.jump is None:
        return {"host_keys": [text]}
    return {"jump": entry.jump.model_dump(exclude_unset=True) | {"host_keys": [text]}}


_POLL_S = 0.3
_QUESTION_TIMEOUT_S = 5.0


def await_authorisation(
    entry: DeviceEntry, say: Callable[[str], None], *, wait_s: float, server: AdbServer | None = None
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
    say(f"{target_of(entry).label} has not authorised this computer yet: {AUTHORISE}; waiting {wait_s:.0f} s")
    deadline = Deadline(wait_s)
    while deadline.remaining_s() and _state(entry, server) == UNAUTHORISED:
        time.sleep(_POLL_S)
    attach(entry, server)


def _state(entry: DeviceEntry, server: AdbServer) -> str | None:
    serial = target_of(entry).serial
    attached = server.devices(timeout_s=_QUESTION_TIMEOUT_S)
    return next((one.state for one in attached if one.serial == serial), None)
