"""A kind of device, and a way to reach it."""

from __future__ import annotations

from dataclasses import replace

from devices.checks.facts import Facts
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import LinuxKind
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from devices.transports.transport import Transport


class AcmeBoard(LinuxKind):
    """A Linux board that is reached by Acme's link."""

    transport = "acme-link"
    workdir = "acme"

    def facts(self, tree: Tree) -> Facts:
        return replace(super().facts(tree), board=f"Acme {self.entry.options.get('model', 'One')}")


def open_link(entry: DeviceEntry) -> Transport:
    """Reaches this machine, which is enough for an example."""
    del entry
    return LocalTransport()
