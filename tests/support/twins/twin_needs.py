"""Requirements of tests: if the machine lacks one, the test skips with the reason, which CI counts as a failure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NO_SKIPS = "EDGE_SUITE_NO_SKIPS"
REMEDY = "run `make twins`, which sets that up"
_ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """Returns the program's path, even if only root's PATH has it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_ADMIN_PATH}")


def need_programs(*names: str) -> None:
    """Skips the test unless all programs are installed."""
    missing = [name for name in names if find_program(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: {REMEDY}")


def need_root() -> None:
    """Skips the test unless it may mount, chroot and make namespaces."""
    if os.geteuid() != 0:
        pytest.skip(f"twins need root for their mounts and namespaces, and this is user {os.geteuid()}: use sudo")


def need_programs_of(machine: str) -> None:
    """Skips the test unless the kernel starts programs for that machine, on its own or through the emulator."""
    if os.uname().machine == machine:
        return
    entry = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
    if not entry.is_file() or "enabled" not in entry.read_text():
        pytest.skip(f"the kernel doesn't start {machine} programs through qemu: {REMEDY}")


def need_aarch64_programs() -> None:
    """Skips the test unless the kernel starts programs for aarch64, on its own or through the emulator."""
    need_programs_of("aarch64")


def skips_fail() -> bool:
    """Returns whether a skip counts as a failure."""
    return os.environ.get(NO_SKIPS) == "1"
