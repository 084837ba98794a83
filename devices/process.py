"""A process on this host in a group of its own: read line by line, never left behind.

The group is signalled while its leader is still a zombie of ours (`waitid` with WNOWAIT): until it is reaped its number
can't be given to anybody else, so that a stranger is never hit.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.deadline import Deadline
from devices.errors import CommandError, FileError, TransportTimeout
from foundation.text import printable

STDERR_TAIL_BYTES = 64 << 10
_CHUNK_BYTES = 64 << 10
# End of file wakes the reader at once; this bounds how late we see a dead leader whose children hold the pipe, and a
# wish to stop.
_POLL_S = 0.25
# A process that SIGKILL does not end within this time hangs in the kernel.
_KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Ending:
    """Exit status (128 + n for signal n), the signal's name if one ended it, and the end of the error output."""

    rc: int
    signal: str | None
    stderr_tail: bytes


def supervise(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    cwd: str | None,
    on_output: Callable[[bytes], None],
    on_start: Callable[[int], None] = lambda _pid: None,
    while_waiting: Callable[[], None] = lambda: None,
    grace_s: float = 5.0,
) -> Ending:
    """Runs `argv` to its end; `on_output` gets its standard output as it comes, `on_start` its process id.
    `while_waiting` is called several times a second.

    Whatever is raised meanwhile, the group gets SIGTERM, `grace_s` seconds, and SIGKILL first. What the leader leaves
    in its group when it ends by itself gets SIGKILL. Raises `CommandError` (can't be started), `TransportTimeout`.
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
        return Ending(status, None, bytes(tail))
    return Ending(128 - status, signal_name(-status), bytes(tail))


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
    """Reads both pipes until both are closed, or the leader is gone and nothing comes any more."""
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
    """Whether our child has ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(group: int, number: int) -> None:
    # Gone already, or changed to another user: nothing more that we could do.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM and a grace period if the leader still runs, then SIGKILL for the rest of the group, then reap."""
    try:
        if not _has_exited(process.pid):
            _signal_group(process.pid, signal.SIGTERM)
            end_s = time.monotonic() + grace_s
            # Both pipes are drained meanwhile: a program that writes its last words must not block on a full pipe.
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
                f"process {process.pid} hangs in the kernel {_KILL_TIMEOUT_S:g} s after SIGKILL; restart the device."
            ) from error
