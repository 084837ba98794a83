"""What the suite asks of a family of devices."""

from __future__ import annotations

from typing import Protocol

from devices.entry import DeviceEntry
from devices.facts import Facts
from devices.preflight import Check
from devices.sensors.spec import Discovery
from devices.sensors.tree import Tree


class Kind(Protocol):
    """A family of devices, made for one entry."""

    governor_remedy: str | None
    """How to keep the cores' clock from following the load; None where the device's user can't."""

    def __init__(self, entry: DeviceEntry) -> None: ...

    def sensors(self, tree: Tree) -> Discovery:
        """What can be sampled on this device now, and what can't and why."""

    def facts(self, tree: Tree) -> Facts:
        """What identifies the device and what state it is in."""

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        """Checks that only this family has, besides those of `devices.preflight`."""

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        """The cores to pin the runner to where the inventory names none; None: all of them."""

    def throttling(self, tree: Tree) -> str | None:
        """What says that the device holds itself back right now; None if nothing does, or nothing can be asked."""
