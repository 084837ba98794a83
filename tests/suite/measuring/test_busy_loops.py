"""The load beside a process: as many loops as asked for, which end with it however it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.measuring.job import WITH_BUSY_LOOPS


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that have not ended."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = each.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(each.parent.name))
    return found


def wait_until_ended(processes: list[int]) -> None:
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.05)


def test_the_process_is_the_program_itself_and_gets_its_arguments_and_input() -> None:
    command = ["sh", "-c", WITH_BUSY_LOOPS, "sh", "2", "sh", "-c", 'echo "$$ $1"; read -r line; echo "$line"; exit 3']
    with subprocess.Popen([*command, "sh", "a b"], stdin=-1, stdout=-1, text=True) as process:
        out, _ = process.communicate("hello\n", timeout=60)
    assert out.splitlines() == [f"{process.pid} a b", "hello"]
    assert process.returncode == 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_loops_end_with_the_process(how: signal.Signals) -> None:
    with subprocess.Popen(["sh", "-c", WITH_BUSY_LOOPS, "sh", "2", "cat"], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("begun\n")
        process.stdin.flush()
        process.stdout.readline()  # it is the program by now
        loops = children(process.pid)
        process.send_signal(how)
        process.stdin.close()
    assert len(loops) == 2
    wait_until_ended(loops)
