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
from pathlib import Path

from devices.atomic import write_atomic
from devices.deadline import Deadline

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIMIT_BYTES = 4096
_POLL_S = 0.02


def write_pid_file(path: Path, pid: int) -> None:
    """Names a running process. Raises `OSError`."""
    record = {"pid": pid, "start_ticks": _start_ticks(pid), "boot_id": _boot_id()}
    write_atomic(path, json.dumps(record).encode())


def running_pid(path: Path) -> int | None:
    """The process that the file names, if it still runs; None for a missing, damaged or outdated file."""
    try:
        with path.open("rb") as stream:
            record = json.loads(stream.read(_LIMIT_BYTES))
        pid, start_ticks, boot_id = record["pid"], record["start_ticks"], record["boot_id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if type(pid) is not int or pid <= 1 or start_ticks is None:
        return None
    return pid if boot_id == _boot_id() and start_ticks == _start_ticks(pid) else None


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
