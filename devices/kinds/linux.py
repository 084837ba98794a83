"""Plain Linux machines: what every kernel reports, and no rails."""

from __future__ import annotations

from devices.checks.facts import Facts, read_facts
from devices.checks.preflight import GOVERNOR_REMEDY, Check
from devices.inventory.entry import DeviceEntry
from devices.sensors.linux_host import linux_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery


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
