"""Real processes and folders, and copies of /proc and /sys with known content."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devices.deploy import DeployFile
from devices.local import LocalTransport
from devices.sensors.tree import Tree

MakeTree = Callable[[Mapping[str, str]], Tree]
MakeFile = Callable[..., DeployFile]

X86_CORE = """\
processor\t: {number}
cpu family\t: 6
model\t\t: 85
model name\t: Fast CPU 9000
stepping\t: 7
microcode\t: 0x5003604
flags\t\t: fpu avx2 avx512f fma
"""
ARM_CORE = """\
processor\t: {number}
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport(grace_s=0.5)


@pytest.fixture
def make_tree(tmp_path: Path, transport: LocalTransport) -> MakeTree:
    """Writes files below a root of their own; a later call adds to it."""
    root = tmp_path / "root"
    root.mkdir()

    def make(files: Mapping[str, str]) -> Tree:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(transport, str(root))

    return make


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """A file on the host to deploy."""
    folder = tmp_path / "host"
    folder.mkdir()

    def make(name: str = "program.pte", data: bytes = b"weights" * 1000, *, executable: bool = False) -> DeployFile:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return DeployFile(path, name, hashlib.sha256(data).hexdigest(), len(data), executable)

    return make


def python(script: str, *arguments: str) -> list[str]:
    """The argument list that runs a script in a fresh interpreter."""
    return [sys.executable, "-I", "-S", "-c", script, *arguments]


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Polls up to 20 s, and fails the test then."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition didn't come true within 20 s"
        time.sleep(0.02)


def kill_if_running(pid: int) -> None:
    """Cleans up what a failing test would leave."""
    if is_running(pid):
        os.kill(pid, 9)
