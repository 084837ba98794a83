"""A Linux machine without rails of its own to know about: what every kernel shows."""

from __future__ import annotations

from devices.entry import DeviceEntry
from devices.facts import Facts, read_facts
from devices.preflight import Check
from devices.sensors.host import linux_sensors
from devices.sensors.spec import Discovery
from devices.sensors.tree import Tree


class LinuxKind:
    """Kinds `local` and `linux`."""

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        return linux_sensors(tree)

    def facts(self, tree: Tree) -> Facts:
        return read_facts(tree)

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        del tree  # the general checks are all there is
        return ()
