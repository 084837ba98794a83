"""Checks whether each device can be reached before the export, which takes minutes.

Nothing is read or locked, so a device in use by somebody else counts as reachable.
"""

from __future__ import annotations

import contextlib
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait

from devices.access.connect import contact
from devices.errors import DeviceError
from devices.inventory.entry import DeviceEntry
from suite.display import Display
from suite.errors import SuiteError

_QUIET_S = 2.0
"""So long nothing is said: devices that are there take less."""


class NoneReachable(SuiteError):  # noqa: N818 - said as it is
    """No device of a run can be reached; the message has a sentence for each."""


def reach(entries: Sequence[DeviceEntry], display: Display, *, required: bool = True) -> None:
    """Reports which devices cannot be reached within their `connect_timeout_s`, in parallel.

    Raises NoneReachable if none can and `required`; otherwise the run continues, as a device may come back.
    """
    remote = [entry for entry in entries if entry.transport != "local"]
    obstacles = _obstacles(remote, display)
    if required and remote and len(obstacles) == len(entries):
        raise NoneReachable(_sentences(obstacles))
    for name, reason in obstacles.items():
        display.note(f"{name}: {reason}")
    if obstacles:
        those = "it is" if len(obstacles) == 1 else "they are"
        display.note(f"going on without {', '.join(obstacles)}; {those} tried again when the programs are ready")


def _sentences(obstacles: dict[str, str]) -> str:
    if len(obstacles) == 1:
        return next(iter(obstacles.values()))
    listed = "\n".join(f"  {reason}" for reason in obstacles.values())
    return f"none of the {len(obstacles)} devices can be reached, so nothing was exported or measured:\n{listed}"


def _obstacles(entries: Sequence[DeviceEntry], display: Display) -> dict[str, str]:
    """Returns why devices cannot be reached, by name, in the order of `entries`."""
    with _terminal_as_it_was():
        looks = {entry.name: _begun(entry) for entry in entries}
        late = wait(looks.values(), timeout=_QUIET_S).not_done
        if late:
            names = ", ".join(name for name, look in looks.items() if look in late)
            display.note(f"waiting for {names} to answer")
        found = {name: look.result() for name, look in looks.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _begun(entry: DeviceEntry) -> Future[str | None]:
    """Starts contacting a device; the result is why it cannot be reached, None if it answers."""
    found: Future[str | None] = Future()

    def look() -> None:
        try:
            contact(entry)
        except DeviceError as error:
            found.set_result(str(error))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            found.set_exception(error)
        else:
            found.set_result(None)

    # Ends with the process, so that Ctrl-C need not wait for a silent device, as it would for a pool's thread.
    threading.Thread(target=look, name=f"look at {entry.name}", daemon=True).start()
    return found


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Restores the terminal after Ctrl-C: a thread that asks for a password turns the echo off."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError, AttributeError):
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        raise
