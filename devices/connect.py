"""From an inventory entry to a device that is ours: locked here, reached, held there, and rid of what an earlier run
left running."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from devices.entry import DeviceEntry
from devices.errors import UnsupportedDevice
from devices.facts import Facts
from devices.hold import claim
from devices.kinds import KINDS, Kind
from devices.local import LocalTransport
from devices.lock import exclusive
from devices.places import Places
from devices.preflight import (
    Check,
    Needs,
    check_cores,
    check_cpu_files,
    check_disk,
    check_frequency_caps,
    check_governor,
    check_memory,
    check_workdir,
)
from devices.quiet import check_time_and_load
from devices.sensors.spec import Discovery
from devices.sensors.tree import Tree
from devices.transport import FILE_TIMEOUT_S, Exit, OnLine, Transport, WhileWaiting

Connector = Callable[[DeviceEntry], Transport]


def _ssh(entry: DeviceEntry) -> Transport:
    from devices.ssh import ssh_transport  # its library takes a while to load, and most commands don't need it

    return ssh_transport(entry)


def _adb(entry: DeviceEntry) -> Transport:
    from devices.adb import adb_transport  # the same

    return adb_transport(entry)


# A new transport is a class and a line here.
TRANSPORTS: Mapping[str, Connector] = MappingProxyType(
    {"local": lambda _entry: LocalTransport(), "ssh": _ssh, "adb": _adb}
)


@dataclass(frozen=True)
class Device:
    """A connected device, under its lock. `left_over_pid`: the runner of an earlier run that had to be ended first."""

    entry: DeviceEntry
    transport: Transport
    kind: Kind
    tree: Tree
    places: Places
    left_over_pid: int | None = None

    def sensors(self) -> Discovery:
        """What can be sampled now, and what can't and why; look again before each session (chargers get plugged in)."""
        return self.kind.sensors(self.tree)

    def facts(self) -> Facts:
        """What identifies the device and what state it is in."""
        return self.kind.facts(self.tree)

    def throttling(self) -> str | None:
        """What says that the device holds itself back right now, None if nothing does."""
        return self.kind.throttling(self.tree)

    def preflight(self, needs: Needs) -> tuple[Check, ...]:
        """All checks; takes about a second. Cores and threads of the entry count where `needs` names none."""
        needs = Needs(
            needs.disk_bytes,
            needs.memory_bytes,
            self.entry.cpus if needs.cpus is None else needs.cpus,
            self.entry.threads if needs.threads is None else needs.threads,
        )
        return (
            check_workdir(self.tree, self.places.workdir),
            check_disk(self.tree, self.places.workdir, needs.disk_bytes),
            check_memory(self.tree, needs.memory_bytes),
            check_cpu_files(self.tree),
            check_cores(self.tree, needs),
            *check_time_and_load(self.tree),
            check_governor(self.tree, self.kind.governor_remedy),
            check_frequency_caps(self.tree),
            *self.kind.checks(self.tree),
        )

    def launch(
        self,
        argv: Sequence[str],
        on_line: OnLine,
        *,
        timeout_s: float,
        cwd: str | None = None,
        while_waiting: WhileWaiting = lambda: None,
    ) -> Exit:
        """Runs the runner under the device's pid file (see `Transport.stream`)."""
        return self.transport.stream(
            argv, on_line, timeout_s=timeout_s, cwd=cwd, pid_file=self.places.pid_file, while_waiting=while_waiting
        )


def require_support(entry: DeviceEntry) -> None:
    """Raises `UnsupportedDevice` if there is no class for the entry's kind or transport."""
    for what, name, known in (("kind", entry.kind, KINDS), ("transport", entry.transport, TRANSPORTS)):
        if name not in known:
            raise UnsupportedDevice(
                f"device {entry.name!r} has the {what} {name!r}, which this version of the suite can't serve yet "
                f"(it has {len(known)}: {', '.join(known)}); choose another device or update the suite."
            )


def contact(entry: DeviceEntry) -> None:
    """Reaches the device and lets go of it: no lock, and nothing is done there. Raises what `connect` raises."""
    require_support(entry)
    TRANSPORTS[entry.transport](entry).close()


@contextlib.contextmanager
def connect(entry: DeviceEntry, locks_dir: Path, *, root: str = "/") -> Iterator[Device]:
    """Holds the device for the block, against others of this home and of every other.

    `root` stands in for the device's "/" when its /proc and /sys are read. Raises `UnsupportedDevice`, `DeviceBusy`,
    and what the transport raises when the device can't be reached.
    """
    require_support(entry)
    with (
        exclusive(entry.name, locks_dir, address=entry.address),
        contextlib.closing(TRANSPORTS[entry.transport](entry)) as transport,
    ):
        places = Places(_whole(entry.workdir, transport))
        transport.hold(places.hold, claim(entry.name, locks_dir))
        left_over = transport.end_left_over(places.pid_file)
        kind, tree = KINDS[entry.kind](entry), Tree(transport, root)
        if entry.cpus is None:
            entry = entry.model_copy(update={"cpus": kind.cpus(tree)})
        yield Device(entry, transport, kind, tree, places, left_over)


def _whole(workdir: str, transport: Transport) -> str:
    """A relative workdir, or one that begins with `~/`, below the folder in which the device's commands start."""
    if workdir.startswith("/"):
        return workdir
    home = transport.run(["pwd"], timeout_s=FILE_TIMEOUT_S).stdout.removesuffix("\n")
    return posixpath.join(home, workdir.removeprefix("~/"))
