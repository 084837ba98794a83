"""Families of devices: what the suite needs from each, and plain Linux machines as the simplest one.

A new kind needs a class, and a line in `KINDS` or a plugin's entry point (docs/plugins.md).
"""

from __future__ import annotations

from typing import Protocol

from devices.checks.facts import Facts, read_facts
from devices.checks.preflight import GOVERNOR_REMEDY, Check
from devices.inventory.entry import DeviceEntry
from devices.kinds.android import AndroidKind
from devices.kinds.jetson import JetsonKind
from devices.kinds.raspberrypi import RaspberryPiKind
from devices.sensors.linux_host import linux_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery
from foundation.plugins import Registry


class LinuxKind:
    """Kinds `local` and `linux`."""

    governor_remedy: str | None = GOVERNOR_REMEDY

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        return linux_sensors(tree, self.entry.power)

    def facts(self, tree: Tree) -> Facts:
        return read_facts(tree)

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        del tree  # there are no checks beyond the general ones
        return ()

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        del tree  # only the user knows which cores are better
        return None

    def throttling(self, tree: Tree) -> str | None:
        del tree  # the kernel's counters are sampled
        return None


class Kind(Protocol):
    """A family of devices, instantiated for one entry."""

    governor_remedy: str | None
    """The command that fixes the cores' clock; None if the device's user can't."""

    def __init__(self, entry: DeviceEntry) -> None: ...

    def sensors(self, tree: Tree) -> Discovery:
        """Returns what can be sampled on this device now, and what can't and why."""

    def facts(self, tree: Tree) -> Facts:
        """Returns the device's identity and state."""

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        """Returns the checks specific to this family, in addition to those of `devices.checks.preflight`."""

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        """Returns the cores to pin the runner to if the inventory names none; None for all cores."""

    def throttling(self, tree: Tree) -> str | None:
        """Returns the evidence that the device is throttling right now; None if there is none or it can't be read."""


_METHODS = ("sensors", "facts", "checks", "cpus", "throttling")


def _accept(name: str, loaded: object) -> type[Kind]:
    del name
    missing = [method for method in _METHODS if not callable(getattr(loaded, method, None))]
    if not isinstance(loaded, type):
        raise TypeError(f"is of type {type(loaded).__name__}, and should be a class")
    if missing or not hasattr(loaded, "governor_remedy"):
        raise TypeError(f"has no `{(*missing, 'governor_remedy')[0]}`, which a kind needs")
    return loaded


KINDS: Registry[type[Kind]] = Registry(
    "kinds",
    {
        "local": LinuxKind,
        "linux": LinuxKind,
        "jetson": JetsonKind,
        "raspberrypi": RaspberryPiKind,
        "android": AndroidKind,
    },
    _accept,
)
