"""Processes of this host: each runs in its own group until a deadline, and none is left behind.

A pid file identifies a process even after its number has been reused.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.errors import CommandError, FileError, TransportTimeout
from foundation.atomic import write_atomic
from foundation.foreign_files import DAMAGED
from foundation.text import decode, printable


class Deadline:
    """Counts down from `timeout_s` seconds.

    Raises `ValueError` unless `timeout_s` is positive and finite: a call without a deadline can hang forever.
    """

    def __init__(self, timeout_s: float) -> None:
        if not 0 < timeout_s < float("inf"):
            raise ValueError(f"a deadline needs a positive, finite number of seconds, not {timeout_s!r}")
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Returns the seconds left, never negative."""
        return max(0.0, self._end_s - time.monotonic())

    def check(self, what: str) -> None:
        """Raises `TransportTimeout` when time is up; `what` is a noun phrase for the message."""
        if time.monotonic() >= self._end_s:
            raise TransportTimeout(
                f"{what} did not end within {self.timeout_s:g} s and was ended; "
                "check that the device isn't overloaded, or allow more time."
            )


STDERR_TAIL_BYTES = 64 << 10
_CHUNK_BYTES = 64 << 10
# End of file wakes the reader at once; this bounds the delay in noticing a request to stop, or a dead leader whose
# children keep the pipe open.
_POLL_S = 0.25
# A process that survives SIGKILL for this long is stuck in the kernel.
_KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    `rc`: its exit code, 128 + n after signal n; None if it never arrived. `signal`: the name (SIGSEGV) of the signal
    that ended it. `stderr_tail`: the end of its error output. `lost`: why the device went away. `stopped`: why the
    suite itself ended it (deadline, trip point, too much output).
    """

    rc: int | None
    signal: str | None = None
    stderr_tail: str = ""
    lost: str | None = None
    stopped: str | None = None


def supervise(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    cwd: str | None,
    on_output: Callable[[bytes], None],
    on_start: Callable[[int], None] = lambda _pid: None,
    while_waiting: Callable[[], None] = lambda: None,
    grace_s: float = 5.0,
) -> ProcessEnd:
    """Runs `argv` until it ends; `on_output` gets its standard output as it arrives, `on_start` its process id.

    `while_waiting` is called several times a second. If anything is raised meanwhile, the group first gets SIGTERM and,
    after `grace_s` seconds, SIGKILL. Processes that a leader leaves in its group get SIGKILL. Raises `CommandError` if
    it can't be started, and `TransportTimeout`.
    """
    process = _start(argv, cwd)
    tail = bytearray()

    def on_error_output(chunk: bytes) -> None:
        tail.extend(chunk)
        del tail[:-STDERR_TAIL_BYTES]

    try:
        on_start(process.pid)
        _pump(process, deadline, argv[0], on_output, on_error_output, while_waiting)
        while not _has_exited(process.pid):
            while_waiting()
            deadline.check(f"the command {printable(argv[0])!r}")
            time.sleep(min(0.01, deadline.remaining_s()))
    finally:
        _end_group(process, grace_s)
    status = process.returncode
    if status >= 0:
        return ProcessEnd(status, None, decode(tail))
    return ProcessEnd(128 - status, signal_name(-status), decode(tail))


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `SIG<n>` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _start(argv: Sequence[str], cwd: str | None) -> subprocess.Popen[bytes]:
    if isinstance(argv, str) or not argv:
        raise ValueError(f"a command is a list of at least one argument, not {argv!r}")
    command = printable(argv[0])
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        reason = FileError.from_os_error("start", argv[0], error).reason
        place = f" in {printable(cwd)!r}" if cwd else ""
        raise CommandError(
            f"the command {command!r} can't be started{place} because {reason}; "
            "check that it is installed, executable and built for this machine."
        ) from error
    except ValueError as error:
        raise CommandError(f"the command {command!r} can't be started: {error}; correct its arguments.") from error


def _pump(
    process: subprocess.Popen[bytes],
    deadline: Deadline,
    command: str,
    on_output: Callable[[bytes], None],
    on_error_output: Callable[[bytes], None],
    while_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Reads both pipes until they are closed, or the leader is gone and no more output comes."""
    swept = False
    with selectors.DefaultSelector() as selector:
        for pipe, sink in ((process.stdout, on_output), (process.stderr, on_error_output)):
            if pipe is not None:
                selector.register(pipe.fileno(), selectors.EVENT_READ, sink)
        while selector.get_map():
            events = selector.select(min(_POLL_S, deadline.remaining_s()))
            while_waiting()
            deadline.check(f"the command {printable(command)!r}")
            for key, _ in events:
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if chunk:
                    key.data(chunk)
                else:
                    selector.unregister(key.fd)
            if not events and _has_exited(process.pid):
                if swept:
                    return
                _signal_group(process.pid, signal.SIGKILL)
                swept = True


def _has_exited(pid: int) -> bool:
    """Returns whether our child has ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(group: int, number: int) -> None:
    # Gone already, or running as another user: nothing more can be done.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Sends SIGTERM and waits if the leader still runs, kills the rest of the group, and reaps the leader."""
    try:
        if not _has_exited(process.pid):
            _signal_group(process.pid, signal.SIGTERM)
            end_s = time.monotonic() + grace_s
            # Both pipes are drained meanwhile: a program that still writes must not block on a full pipe.
            with contextlib.suppress(TransportTimeout):
                while not _has_exited(process.pid) and time.monotonic() < end_s:
                    _pump(process, Deadline(_POLL_S), "", lambda _chunk: None, lambda _chunk: None)
                    time.sleep(0.01)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(timeout=_KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise TransportTimeout(
                f"process {process.pid} is stuck in the kernel {_KILL_TIMEOUT_S:g} s after SIGKILL; restart the device."
            ) from error


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIMIT_BYTES = 4096
_END_POLL_S = 0.02


@dataclass(frozen=True)
class PidRecord:
    """The content of a pid file: process id, start time in ticks since boot, and the boot's id."""

    pid: int
    start_ticks: int
    boot_id: str


def write_pid_file(path: Path, pid: int) -> None:
    """Writes the pid file of a running process. Raises `OSError`."""
    record = {"pid": pid, "start_ticks": _start_ticks(pid), "boot_id": _boot_id()}
    write_atomic(path, json.dumps(record).encode())


def record_of(pid: int) -> PidRecord | None:
    """Returns the record of a process of this host; None if it isn't running."""
    start_ticks = _start_ticks(pid)
    return None if start_ticks is None else PidRecord(pid, start_ticks, _boot_id())


def runs(record: PidRecord) -> bool:
    """Returns whether that process is running on this host."""
    return record.boot_id == _boot_id() and record.start_ticks == _start_ticks(record.pid)


def parse_record(content: bytes) -> PidRecord | None:
    """Parses the content of a pid file, which may come from a device and is untrusted; None if it is damaged."""
    try:
        record = json.loads(content)
        pid, start_ticks, boot_id = record["pid"], record["start_ticks"], record["boot_id"]
    except DAMAGED:
        return None
    if type(pid) is not int or pid <= 1 or type(start_ticks) is not int or type(boot_id) is not str:
        return None
    return PidRecord(pid, start_ticks, boot_id)


def running_pid(path: Path) -> int | None:
    """Returns the process that the file names, if it is still running; None for an unusable or outdated file."""
    try:
        with path.open("rb") as stream:
            record = parse_record(stream.read(_LIMIT_BYTES))
    except OSError:
        return None
    return record.pid if record is not None and runs(record) else None


def end_process_group(pid: int, deadline: Deadline, *, grace_s: float = 3.0) -> None:
    """Sends SIGTERM to the group that `pid` leads, and SIGKILL after `grace_s`.

    It need not be our child, as it is watched through /proc. Raises `TransportTimeout` if it survives both.
    """
    started = _start_ticks(pid)
    number, kill_at_s = signal.SIGTERM, time.monotonic() + grace_s
    while started is not None and _start_ticks(pid) == started:
        # It may end between the check and the signal.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline.check(f"the process {pid} that an earlier run left behind")
        time.sleep(_END_POLL_S)
        if time.monotonic() >= kill_at_s:
            number = signal.SIGKILL


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Returns the start time of a process, or None if it isn't running (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name in brackets may contain brackets and blanks: fields are counted from the last bracket.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
