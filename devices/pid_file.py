"""Who runs on this host: a pid file that can't name the wrong process.

A process is told by its id, its start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)) and the
boot's id, so that an id which the kernel has given to another process since is never signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from devices.deadline import Deadline
from foundation.atomic import write_atomic

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIMIT_BYTES = 4096
_POLL_S = 0.02


@dataclass(frozen=True)
class PidRecord:
    """What a pid file says: process id, start time in ticks since boot, and the boot's id."""

    pid: int
    start_ticks: int
    boot_id: str


def write_pid_file(path: Path, pid: int) -> None:
    """Names a running process. Raises `OSError`."""
    record = {"pid": pid, "start_ticks": _start_ticks(pid), "boot_id": _boot_id()}
    write_atomic(path, json.dumps(record).encode())


def record_of(pid: int) -> PidRecord | None:
    """A process of this host as a pid file names it; None if it doesn't run."""
    start_ticks = _start_ticks(pid)
    return None if start_ticks is None else PidRecord(pid, start_ticks, _boot_id())


def runs(record: PidRecord) -> bool:
    """Whether that process runs on this host now."""
    return record.boot_id == _boot_id() and record.start_ticks == _start_ticks(record.pid)


def parse_record(content: bytes) -> PidRecord | None:
    """What a pid file's content says; None if it is damaged. It may come from a device: nothing of it is trusted."""
    try:
        record = json.loads(content)
        pid, start_ticks, boot_id = record["pid"], record["start_ticks"], record["boot_id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(pid) is not int or pid <= 1 or type(start_ticks) is not int or type(boot_id) is not str:
        return None
    return PidRecord(pid, start_ticks, boot_id)


def running_pid(path: Path) -> int | None:
    """The process that the file names, if it still runs; None for a missing, damaged or outdated file."""
    try:
        with path.open("rb") as stream:
            record = parse_record(stream.read(_LIMIT_BYTES))
    except OSError:
        return None
    return record.pid if record is not None and runs(record) else None


def end_process_group(pid: int, deadline: Deadline, *, grace_s: float = 3.0) -> None:
    """SIGTERM to the group that `pid` leads, SIGKILL after `grace_s`. Raises `TransportTimeout` if it outlives both.

    For groups that are not children of ours: they are watched through /proc.
    """
    started = _start_ticks(pid)
    number, kill_at_s = signal.SIGTERM, time.monotonic() + grace_s
    while started is not None and _start_ticks(pid) == started:
        # It may end between the look and the signal.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline.check(f"the process {pid} that an earlier run left behind")
        time.sleep(_POLL_S)
        if time.monotonic() >= kill_at_s:
            number = signal.SIGKILL


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Start time of a process, or None if it doesn't run (a zombie doesn't)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name in brackets may itself hold brackets and blanks: fields count from the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
