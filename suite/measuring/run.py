"""Defines a run in progress: what its devices share, and how their threads are asked to end."""

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


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The run has to end. Raised in a device's thread, never reported."""


class StopSign:
    """Put up once by whoever ends the run; checked by all threads."""

    def __init__(self) -> None:
        self._raised = threading.Event()

    def put_up(self) -> None:
        """Makes `check` and `sleep` raise from now on."""
        self._raised.set()

    def check(self) -> None:
        """Raises Stopped if the run has to end."""
        if self._raised.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleeps. Raises Stopped at once if the run has to end."""
        if self._raised.wait(seconds):
            raise Stopped


@dataclass(frozen=True)
class Run:
    """What all devices of a run share.

    `stop` ends all devices' threads. `clock` waits between sessions, and `root` replaces the devices' "/" for reading
    /proc and /sys; tests pass their own.
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
