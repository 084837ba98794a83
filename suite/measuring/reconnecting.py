"""Work on a device whose link may break: it is begun again over a new connection, a few times in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type

from devices.errors import DeviceLost
from suite.measuring.idle_device import Clock

MOST_RECONNECTS = 2
"""Consecutive reconnects before giving up; work that ends well resets the count."""

RECONNECT_SECONDS = (2.0, 60.0)
"""The waits before each: a broken link is back soon, a device that reboots takes about a minute."""

_T = TypeVar("_T")


class Reconnecting:
    """Begins work on one device again when the device was lost.

    `was_met` returns whether the device has been reached before: only such a one is worth a long wait. `note` gets a
    line for each reason and each wait.
    """

    def __init__(self, clock: Clock, note: Callable[[str], None], was_met: Callable[[], bool]) -> None:
        self._clock, self._note, self._was_met = clock, note, was_met
        self._losses_in_a_row = 0
        self._last_loss: str | None = None

    def carry_out(self, work: Callable[[], _T]) -> _T:
        """Returns what `work` returns, which connects by itself. Raises DeviceLost once it was lost too often."""
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
        """Starts the count anew: something was achieved over the present connection."""
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
