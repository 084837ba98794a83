"""Starts and inspects real processes of this host."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def python(script: str, *arguments: str) -> list[str]:
    """Returns the command that runs a script in a fresh interpreter."""
    return [sys.executable, "-I", "-S", "-c", script, *arguments]


# Writes its process id to a file, prints, and stays; the second ignores SIGTERM.
LASTING = (
    "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); print('up', flush=True); time.sleep(600)"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LASTING


def is_running(pid: int) -> bool:
    """Returns whether a process is running; a zombie isn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Polls for up to a minute, then fails the test."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the condition didn't come true within a minute"
        time.sleep(0.02)


def kill_if_running(pid: int) -> None:
    """Cleans up after a failing test."""
    if is_running(pid):
        os.kill(pid, 9)
