"""One try in a process of its own, forked from one that has loaded everything, with limits on time and memory."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0
"""A try that takes longer counts as hung; the machine may be busy."""
PROCESSOR_SECONDS = 30
MEMORY_BYTES = 2 << 30
"""Address space that a try may take beyond what it starts with."""
RESIDENT_BYTES = 700 << 20
_CRASHED = 70


@dataclass(frozen=True)
class Ended:
    """How a try ended: its exit code (or minus the signal's number), output, seconds, and bytes of growth."""

    code: int
    out: str
    err: str
    seconds: float
    grown_bytes: int
    hung: bool = False


@dataclass(frozen=True)
class Outcome:
    """The outcome of a try: how it ended, what is wrong with that, and whether what was done to it had any effect."""

    ended: Ended
    fault: str | None
    had_effect: bool = True


class NotHere(Exception):  # noqa: N818 - a reason, not a fault
    """A kind of try that this machine does not allow; its message says why."""


def attempt(
    work: Callable[[], int],
    folder: Path,
    *,
    kill_after_s: float | None = None,
    file_bytes: int | None = None,
    seconds: float = SECONDS,
) -> Ended:
    """Runs `work` in a process of its own, in `folder`; its result is the exit code.

    `kill_after_s`: when that process is killed. `file_bytes`: no file may grow longer, as on a full disk.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        resident = _resident_bytes()
        child = os.fork()
        if child == 0:
            _run(work, folder, (out.fileno(), err.fileno()), file_bytes)
        hung = not _wait(child, seconds if kill_after_s is None else min(kill_after_s, seconds))
        if hung:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read(1 << 20).decode(errors="replace"))
        code = os.waitstatus_to_exitcode(status)
        grown = max(0, usage.ru_maxrss * 1024 - resident)
        return Ended(code, texts[0], texts[1], time.monotonic() - began, grown, hung and kill_after_s is None)


def _wait(child: int, seconds: float) -> bool:
    """Waits for a process to end; returns whether it did in time."""
    descriptor = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return bool(ready)
    finally:
        os.close(descriptor)


def _run(work: Callable[[], int], folder: Path, streams: tuple[int, int], file_bytes: int | None) -> None:
    """Never returns."""
    code = _CRASHED
    try:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.chdir(folder)
        addresses = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (addresses + MEMORY_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS,) * 2)
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes,) * 2)
        code = work()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, it is what the try found
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _resident_bytes() -> int:
    # A child's peak starts at its parent's.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def fault_of(ended: Ended, codes: frozenset[int]) -> str | None:
    """Returns what is wrong with how a try ended, None if nothing is; only the exit codes `codes` are documented."""
    if ended.hung or ended.code == -signal.SIGXCPU:
        return f"hang: no end within {ended.seconds:.0f} s"
    if "Traceback (most recent call last)" in ended.err:
        return f"traceback: {ended.err.strip().splitlines()[-1][:200]}"
    if ended.code not in codes:
        return f"exit code {ended.code}: {ended.err.strip()[-200:]!r}"
    if ended.grown_bytes > RESIDENT_BYTES:
        return f"memory: {ended.grown_bytes >> 20} MiB more"
    if found := _CONTROL.search(ended.out + ended.err):
        return f"a control character {found.group()!r} reached the output"
    if ended.code in (1, 2) and not ended.err.strip().splitlines()[-1:]:
        return f"exit code {ended.code} without a sentence"
    return None
