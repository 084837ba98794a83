"""A run in progress: what its devices share, and how their threads are asked to end."""

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
    """The run is to end; raised in a device's thread, never reported."""


class StopSign:
    """Raised once by whoever ends the run, checked by everybody else."""

    def __init__(self) -> None:
        self._raised = threading.Event()

    def put_up(self) -> None:
        """Makes `check` and `sleep` raise from now on."""
        self._raised.set()

    def check(self) -> None:
        """Raises Stopped if the run is to end."""
        if self._raised.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleeps; raises Stopped at once if the run is to end."""
        if self._raised.wait(seconds):
            raise Stopped


@dataclass(frozen=True)
class Run:
    """What all devices of a run share.

    `stop` ends all devices' threads. `clock` waits between sessions, and `root` replaces the devices' "/" when /proc
    and /sys are read: tests pass their own.
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
