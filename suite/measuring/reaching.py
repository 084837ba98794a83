"""Contacts the devices before the export, which takes minutes, and again when a link breaks during the work.

The check before the export reads and locks nothing, so a device that somebody else uses counts as reachable.
"""

from __future__ import annotations

import contextlib
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type

from devices.access.connect import contact
from devices.errors import DeviceError, DeviceLost
from devices.inventory.entry import DeviceEntry
from suite.display import Display
from suite.errors import SuiteError
from suite.measuring.idle_device import Clock

_QUIET_S = 2.0
"""Seconds before a wait is announced: reachable devices take less."""


class NoneReachable(SuiteError):  # noqa: N818 - the project's word for it
    """No device of a run can be reached. The message has a sentence for each."""


def reach(entries: Sequence[DeviceEntry], display: Display, *, required: bool = True) -> None:
    """Contacts the devices in parallel and reports those that do not answer within their `connect_timeout_s`.

    Raises NoneReachable if none does and `required`; otherwise the run continues, as a device may come back.
    """
    remote = [entry for entry in entries if entry.transport != "local"]
    obstacles = _obstacles(remote, display)
    if required and remote and len(obstacles) == len(entries):
        raise NoneReachable(_sentences(obstacles))
    for name, reason in obstacles.items():
        display.note(f"{name}: {reason}")
    if obstacles:
        those = "it is" if len(obstacles) == 1 else "they are"
        display.note(f"continuing without {', '.join(obstacles)}; {those} tried again when the programs are ready")


def _sentences(obstacles: dict[str, str]) -> str:
    if len(obstacles) == 1:
        return next(iter(obstacles.values()))
    listed = "\n".join(f"  {reason}" for reason in obstacles.values())
    return f"none of the {len(obstacles)} devices can be reached, so nothing was exported or measured:\n{listed}"


def _obstacles(entries: Sequence[DeviceEntry], display: Display) -> dict[str, str]:
    """Returns why devices cannot be reached, by device name, in the order of `entries`."""
    with _terminal_as_it_was():
        looks = {entry.name: _start_contact(entry) for entry in entries}
        late = wait(looks.values(), timeout=_QUIET_S).not_done
        if late:
            names = ", ".join(name for name, look in looks.items() if look in late)
            display.note(f"waiting for {names} to answer")
        found = {name: look.result() for name, look in looks.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _start_contact(entry: DeviceEntry) -> Future[str | None]:
    """Starts contacting a device. The result is why it cannot be reached, or None if it answers."""
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

    # A daemon thread ends with the process. For a pool's thread, Ctrl-C would have to wait for a silent device.
    threading.Thread(target=look, name=f"look at {entry.name}", daemon=True).start()
    return found


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Restores the terminal after Ctrl-C, as a thread that asks for a password turns the echo off."""
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


MOST_RECONNECTS = 2
"""Consecutive reconnects before giving up; a success resets the count."""

RECONNECT_SECONDS = (2.0, 60.0)
"""The wait before each reconnect: a broken link is back soon, a device that reboots takes about a minute."""

_T = TypeVar("_T")


class Reconnecting:
    """Starts work on a device again when the device was lost.

    `was_met` returns whether the device has been reached before: only then is it worth a long wait. `note` gets a line
    for each reason and each wait.
    """

    def __init__(self, clock: Clock, note: Callable[[str], None], was_met: Callable[[], bool]) -> None:
        self._clock, self._note, self._was_met = clock, note, was_met
        self._losses_in_a_row = 0
        self._last_loss: str | None = None

    def carry_out(self, work: Callable[[], _T]) -> _T:
        """Returns the result of `work`, which connects by itself. Raises DeviceLost if the device is lost too often."""
        retrying = Retrying(
            retry=retry_if_exception_type(DeviceLost),
            stop=lambda _state: self._losses_in_a_row > MOST_RECONNECTS,
            wait=lambda _state: self._seconds(),
            sleep=self._clock.sleep,
            before_sleep=lambda state: self._report(state.upcoming_sleep),
            reraise=True,
        )
        result: _T = retrying(self._watched, work)
        return result

    def reset(self) -> None:
        """Resets the count, as something was achieved over the present connection."""
        self._losses_in_a_row = 0

    def _watched(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except DeviceLost as error:
            self._losses_in_a_row += 1
            if self._losses_in_a_row == 1 or str(error) != self._last_loss:
                self._note(str(error))
            self._last_loss = str(error)
            raise

    def _seconds(self) -> float:
        repeated = min(self._losses_in_a_row, len(RECONNECT_SECONDS)) - 1
        return RECONNECT_SECONDS[repeated if self._was_met() else 0]

    def _report(self, seconds: float) -> None:
        attempt = f"{self._losses_in_a_row} of {MOST_RECONNECTS}"
        kept = "; what is stored stays" if self._was_met() else ""
        self._note(f"connecting again in {seconds:g} s ({attempt}){kept}")
