"""Turns an inventory entry into a device that we hold: locked here, reached, held there, cleared of old processes.

Locks are exclusive and in the host's `locks/` folder: one run per device and suite home at a time. This machine, as a
device, has no workdir shared by all homes of all users, so one process at a time may measure on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import posixpath
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from devices.checks.facts import Facts
from devices.checks.preflight import (
    Check,
    Needs,
    check_cores,
    check_cpu_files,
    check_disk,
    check_frequency_caps,
    check_governor,
    check_memory,
    check_time_and_load,
    check_workdir,
    look_twice,
)
from devices.deployment.cache import Places
from devices.errors import DeviceBusy, FileError, UnsupportedDevice
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import KINDS, Kind
from devices.processes import ProcessEnd
from devices.sensors.own import power_is_own, with_own_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery
from devices.transports.hold import Holder, claim, holder_of, this_process
from devices.transports.local.transport import LocalTransport
from devices.transports.transport import FILE_TIMEOUT_S, OnLine, Transport, WhileWaiting
from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.foreign_files import DAMAGED
from foundation.plugins import PluginError, Registry, require_callable
from foundation.text import printable

_UNSAFE = re.compile(r"[^A-Za-z0-9.:-]+")


@contextlib.contextmanager
def exclusive(device: str, locks_dir: Path, *, address: str | None = None) -> Iterator[None]:
    """Locks `device` for the block. Raises `DeviceBusy` at once if it is already locked, even by this process.

    `address` also locks out entries that name the same device differently.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(_exclusive(device, device, locks_dir))
        if address is not None:
            held.enter_context(_exclusive(device, f"at-{_UNSAFE.sub('_', address)[:160]}", locks_dir))
        yield


@contextlib.contextmanager
def _exclusive(device: str, file: str, locks_dir: Path) -> Iterator[None]:
    note = locks_dir / f"{file}.json"
    try:
        locks_dir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(locks_dir / f"{file}.lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise _busy(device, note) from None
    except OSError as error:
        raise _unlockable(device, locks_dir, error, "SUITE_HOME") from error
    try:
        # The note is a courtesy: a full disk must not prevent a measurement.
        with contextlib.suppress(OSError):
            write_atomic(note, json.dumps(asdict(this_process(device))).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


class _Machine:
    """This machine as a device, which all `local` entries of one process share, with no other process at the same time.

    The folder for temporary files itself is locked: every user can open it, and nothing is left behind.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._users = 0
        self._descriptor = -1

    @contextlib.contextmanager
    def held(self, device: str) -> Iterator[None]:
        """Holds it for the block. Raises `DeviceBusy` if another process holds it, UserError if it can't be locked."""
        folder = Path(tempfile.gettempdir())
        note = folder / "edge-training-suite.machine.json"
        with self._changing:
            if self._users == 0:
                self._descriptor = self._lock(device, folder, note)
            self._users += 1
        try:
            yield
        finally:
            with self._changing:
                self._users -= 1
                if self._users == 0:
                    with contextlib.suppress(OSError):
                        note.unlink(missing_ok=True)
                    os.close(self._descriptor)

    @staticmethod
    def _lock(device: str, folder: Path, note: Path) -> int:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unlockable(device, folder, error, "TMPDIR") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise (
                _busy(device, note)
                if error.errno == errno.EWOULDBLOCK
                else _unlockable(device, folder, error, "TMPDIR")
            ) from None
        # The note that another user's killed process left can't be replaced.
        with contextlib.suppress(OSError):
            write_atomic(note, json.dumps(asdict(this_process(device))).encode())
        return descriptor


_MACHINE = _Machine()


def _unlockable(device: str, folder: Path, error: OSError, variable: str) -> UserError:
    reason = FileError.from_os_error("lock", str(folder), error).reason
    return UserError(
        f"{printable(str(folder))!r} can't be used for the lock of device {device!r} because {reason}; make the "
        f"folder writable or point {variable} elsewhere."
    )


def _busy(device: str, note: Path) -> DeviceBusy:
    holder = _read_holder(note)
    who = str(holder) if holder else "another process"
    end = f"end process {holder.pid}" if holder else "end it"
    return DeviceBusy(f"device {device!r} is in use by {who}; wait for it or {end}.")


def _read_holder(note: Path) -> Holder | None:
    try:
        return holder_of(json.loads(note.read_bytes()))
    except (OSError, *DAMAGED):
        return None


Connector = Callable[[DeviceEntry], Transport]


def _ssh(entry: DeviceEntry) -> Transport:
    from devices.transports.ssh.link import (
        ssh_transport,  # its library takes a while to load, and most commands don't need it
    )

    return ssh_transport(entry)


def _adb(entry: DeviceEntry) -> Transport:
    from devices.transports.adb.link import adb_transport  # the same

    return adb_transport(entry)


def _accept(name: str, loaded: object) -> Connector:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return] # its result is checked when it is called


# A new transport needs a class, and a line here or a plugin's entry point.
TRANSPORTS: Mapping[str, Connector] = Registry(
    "transports", {"local": lambda _entry: LocalTransport(), "ssh": _ssh, "adb": _adb}, _accept
)


@dataclass(frozen=True)
class Device:
    """A connected and locked device. `left_over_pid`: an earlier run's runner that had to be ended."""

    entry: DeviceEntry
    transport: Transport
    kind: Kind
    tree: Tree
    places: Places
    left_over_pid: int | None = None

    def sensors(self) -> Discovery:
        """Returns what can be sampled now, and what can't and why; it may change between sessions (chargers)."""
        return self.tree.survey(lambda tree: with_own_sensors(tree, self.kind.sensors(tree), self.entry))

    def facts(self) -> Facts:
        """Returns the device's identity and state."""
        return self.tree.survey(self.kind.facts)

    def throttling(self) -> str | None:
        """Returns the evidence that the device is throttling right now, None if there is none."""
        return self.kind.throttling(self.tree)

    def preflight(self, needs: Needs) -> tuple[Check, ...]:
        """Runs all checks, in about a second. If `needs` names no cores or threads, the entry's are used."""
        needs = Needs(
            needs.disk_bytes,
            needs.memory_bytes,
            self.entry.cpus if needs.cpus is None else needs.cpus,
            self.entry.threads if needs.threads is None else needs.threads,
        )
        looks = look_twice(self.tree)
        return (
            check_workdir(self.tree, self.places.workdir),
            check_disk(self.tree, self.places.workdir, needs.disk_bytes),
            *self.tree.survey(
                lambda tree: (
                    check_memory(tree, needs.memory_bytes),
                    check_cpu_files(tree),
                    check_cores(tree, needs),
                    *check_time_and_load(tree, looks),
                    check_governor(tree, self.kind.governor_remedy),
                    check_frequency_caps(tree),
                    *self.kind.checks(tree),
                )
            ),
        )

    def launch(
        self,
        argv: Sequence[str],
        on_line: OnLine,
        *,
        timeout_s: float,
        cwd: str | None = None,
        while_waiting: WhileWaiting = lambda: None,
    ) -> ProcessEnd:
        """Runs the runner under the device's pid file (see `Transport.stream`)."""
        return self.transport.stream(
            argv, on_line, timeout_s=timeout_s, cwd=cwd, pid_file=self.places.pid_file, while_waiting=while_waiting
        )


def require_support(entry: DeviceEntry) -> None:
    """Raises `UnsupportedDevice` if there is no class for the entry's kind or transport."""
    for what, name, known in (("kind", entry.kind, KINDS), ("transport", entry.transport, TRANSPORTS)):
        if name not in known:
            raise UnsupportedDevice(
                f"device {entry.name!r} has the {what} {name!r}, which this version of the suite doesn't support yet "
                f"(it has {len(known)}: {', '.join(known)}); choose another device or update the suite."
            )
        try:
            known[name]
        except PluginError as error:
            raise UnsupportedDevice(f"device {entry.name!r}: {error}") from error


def contact(entry: DeviceEntry) -> None:
    """Connects and disconnects, without a lock and without touching the device. Raises what `connect` raises."""
    require_support(entry)
    TRANSPORTS[entry.transport](entry).close()


@contextlib.contextmanager
def connect(entry: DeviceEntry, locks_dir: Path, *, root: str = "/") -> Iterator[Device]:
    """Holds the device for the block, against other runs of this suite home and of all others.

    All `local` devices are one machine: they are held against other processes, not against each other.

    `root` replaces the device's "/" when its /proc and /sys are read. Raises `UnsupportedDevice`, `DeviceBusy`, and
    what the transport raises when the device can't be reached.
    """
    require_support(entry)
    with (
        exclusive(entry.name, locks_dir, address=entry.address),
        _MACHINE.held(entry.name) if entry.transport == "local" else contextlib.nullcontext(),
        contextlib.closing(TRANSPORTS[entry.transport](entry)) as transport,
    ):
        places = Places(_whole(entry.workdir, transport))
        transport.hold(places.hold, claim(entry.name, locks_dir))
        left_over = transport.end_left_over(places.pid_file)
        # If a sensor defined in the inventory is the total, the kind must not look for one.
        known = entry.model_copy(update={"power": None}) if power_is_own(entry) else entry
        kind, tree = KINDS[entry.kind](known), Tree(transport, root)
        if entry.cpus is None:
            entry = entry.model_copy(update={"cpus": kind.cpus(tree)})
        yield Device(entry, transport, kind, tree, places, left_over)


def _whole(workdir: str, transport: Transport) -> str:
    """Returns the absolute path of a workdir; a relative one, or `~/...`, is below the folder where commands start."""
    if workdir.startswith("/"):
        return workdir
    home = transport.run(["pwd"], timeout_s=FILE_TIMEOUT_S).stdout.removesuffix("\n")
    return posixpath.join(home, workdir.removeprefix("~/"))
