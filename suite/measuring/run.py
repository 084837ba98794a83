"""A run while it is carried out: what all its devices share, and how their threads are asked to end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from suite.display import Display
from suite.home import Home
from suite.measuring.idle_device import Clock
from suite.planning.plan import RunPlan
from suite.preparing.preparation import Preparation
from suite.preparing.runners import Runners
from suite.store.store import Store


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


@dataclass(frozen=True)
class Run:
    """What all devices of a run share.

    `stop` ends all devices' threads. `clock` is what waits between sessions, and `root` stands in for the devices' "/"
    when /proc and /sys are read: tests bring their own.
    """

    run_id: str
    plan: RunPlan
    preparation: Preparation
    runners: Runners
    home: Home
    store: Store
    display: Display
    stop: StopSign = field(default_factory=StopSign)
    clock: Clock | None = None
    root: str = "/"
