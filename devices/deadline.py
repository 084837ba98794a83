"""A point in monotonic time by which a call must have ended."""

from __future__ import annotations

import time

from devices.errors import TransportTimeout


class Deadline:
    """Counts down from `timeout_s` seconds.

    Raises `ValueError` unless `timeout_s` is positive and finite: a call without a deadline can hang for ever.
    """

    def __init__(self, timeout_s: float) -> None:
        if not 0 < timeout_s < float("inf"):
            raise ValueError(f"a deadline needs a positive, finite number of seconds, not {timeout_s!r}")
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end_s - time.monotonic())

    def check(self, what: str) -> None:
        """Raises `TransportTimeout` when time is up; `what` is a noun phrase for the sentence."""
        if time.monotonic() >= self._end_s:
            raise TransportTimeout(
                f"{what} did not end within {self.timeout_s:g} s and was ended; "
                "check that the device isn't overloaded, or allow more time."
            )
