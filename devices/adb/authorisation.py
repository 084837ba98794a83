"""Whether a phone lets this computer in: over adb it is the phone that asks, and its owner who answers there."""

from __future__ import annotations

import time
from collections.abc import Callable

from devices.adb.attachment import attach, target_of
from devices.adb.server import AdbServer
from devices.adb.states import AUTHORISE, UNAUTHORISED, Unauthorised
from devices.deadline import Deadline
from devices.entry import DeviceEntry

_POLL_S = 0.3
_QUESTION_TIMEOUT_S = 5.0


def await_authorisation(
    entry: DeviceEntry, say: Callable[[str], None], *, wait_s: float, server: AdbServer | None = None
) -> None:
    """Comes back once the device has answered; a phone that hasn't been told to is waited for up to `wait_s`.

    Raises `Unauthorised` if that is all the same then, and what `attach` raises.
    """
    server = server or AdbServer.from_environment()
    try:
        attach(entry, server)
        return
    except Unauthorised:
        if wait_s <= 0:
            raise
    say(f"{target_of(entry).shown} has not authorised this computer yet: {AUTHORISE}; waiting {wait_s:.0f} s")
    deadline = Deadline(wait_s)
    while deadline.remaining_s() and _state(entry, server) == UNAUTHORISED:
        time.sleep(_POLL_S)
    attach(entry, server)


def _state(entry: DeviceEntry, server: AdbServer) -> str | None:
    serial = target_of(entry).serial
    listed = server.devices(timeout_s=_QUESTION_TIMEOUT_S)
    return next((one.state for one in listed if one.serial == serial), None)
