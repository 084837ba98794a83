"""Enrolling: the keys that the servers on the way to a device show go into the inventory once they are compared.

A key that differs from an enrolled one is refused: replacing it is for the user to do, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import paramiko

from devices.entry import DeviceEntry
from devices.errors import UnsupportedDevice
from devices.ssh.authentication import log_in
from devices.ssh.connection import shake_hands
from devices.ssh.endpoint import Endpoint, endpoints
from devices.ssh.host_keys import host_key_text, require_enrolled

Judge = Callable[[Endpoint, str], None]


def enroll(entry: DeviceEntry, judge: Judge) -> Mapping[str, Any]:
    """The values to set in the entry; empty if all keys are enrolled already.

    `judge` gets each server that has no key in the inventory, with the key it shows, and raises unless it is the right
    one. Raises `HostKeyRefused` for a changed key, `DeviceLost` for a server that doesn't answer, `AccessRefused` if
    the jump host doesn't let us through.
    """
    if entry.transport != "ssh":
        raise UnsupportedDevice(
            f"device {entry.name!r} is reached by {entry.transport!r}, which has no host key; only ssh devices are "
            "enrolled."
        )
    values: dict[str, Any] = {}
    opened: list[paramiko.Transport] = []
    try:
        for endpoint in endpoints(entry):
            through = opened[-1] if opened else None
            transport, key = shake_hands(endpoint, entry.connect_timeout_s, through=through)
            opened.append(transport)
            text = host_key_text(key)
            if endpoint.host_keys:
                require_enrolled(endpoint, key)
            else:
                judge(endpoint, text)
                values.update(_values(entry, endpoint, text))
            if endpoint.is_jump:
                log_in(transport, replace(endpoint, host_keys=(text,)))
    finally:
        for transport in reversed(opened):
            transport.close()
    return values


def _values(entry: DeviceEntry, endpoint: Endpoint, text: str) -> dict[str, Any]:
    if not endpoint.is_jump or entry.jump is None:
        return {"host_keys": [text]}
    return {"jump": entry.jump.model_dump(exclude_unset=True) | {"host_keys": [text]}}
