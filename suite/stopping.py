"""Asking the threads of a run to end: each notices at its next line, wait or pause, and ends what it had started."""

from __future__ import annotations

import threading


class Stopped(Exception):  # noqa: N818 - a wish, not a fault
    """The run is to end; raised in the thread of a device, never shown."""


class StopSign:
    """Raised once by whoever ends the run, looked at by everybody else."""

    def __init__(self) -> None:
        self._raised = threading.Event()

    def put_up(self) -> None:
        """From now on `check` and `sleep` raise."""
        self._raised.set()

    def check(self) -> None:
        """Raises Stopped when the run is to end."""
        if self._raised.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """A pause that ends at once, with Stopped, when the run is to end."""
        if self._raised.wait(seconds):
            raise Stopped
