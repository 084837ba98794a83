"""Which machine's programs are sent to a device whose system has another name for its processor."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from devices.runner_builds import startable
from devices.runner_builds.bundle import own_runner
from devices.runner_builds.startable import make_program, startable_machine
from devices.transports.local.transport import LocalTransport

HERE = platform.machine()
NARROW = {"x86_64": "i686", "aarch64": "armv8l"}
EMULATORS = {"aarch64": "qemu-aarch64-static", "armv7l": "qemu-arm-static", "x86_64": "", "i686": ""}


def chosen(folder: Path, reported: str, own: Path | None = None) -> tuple[str, list[str]]:
    """Returns the machine whose programs are chosen for this host if `uname -m` prints `reported`, and the notes."""
    notes: list[str] = []
    machine = startable_machine(LocalTransport(), str(folder / "work"), reported, notes.append, own=own)
    assert not list((folder / "work").glob("*")) if (folder / "work").exists() else True
    return machine, notes


@pytest.mark.skipif(HERE not in NARROW, reason=f"no small program is known for {HERE}")
def test_a_64_bit_kernel_that_calls_itself_32_bit_gets_64_bit_programs(tmp_path: Path) -> None:
    machine, notes = chosen(tmp_path, NARROW[HERE])
    assert machine == HERE
    assert notes == [f"its system calls its processor {NARROW[HERE]} but starts programs for {HERE}: these are used"]


@pytest.mark.parametrize("refusal", [b"\x7fELF" + bytes(200), b"#!/nowhere/sh\n"])
def test_where_they_do_not_start_the_reported_machine_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: bytes
) -> None:
    monkeypatch.setattr(startable, "make_program", lambda _machine: refusal)
    machine, notes = chosen(tmp_path, "armv8l")
    assert machine == "armv8l"
    assert notes[0].startswith("its processor is armv8l, and programs for aarch64 don't start there (")


@pytest.mark.parametrize("reported", ["aarch64", "x86_64", "riscv64", "unknown"])
def test_nothing_is_tried_unless_there_is_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: str
) -> None:
    monkeypatch.setattr(startable, "make_program", lambda _machine: pytest.fail("tried"))
    assert chosen(tmp_path, reported) == (reported, [])


@pytest.mark.skipif(HERE not in NARROW, reason=f"no small program is known for {HERE}")
def test_a_users_own_runner_for_another_machine_is_used_where_it_starts(tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.write_bytes(make_program(HERE))
    machine, _ = chosen(tmp_path, "riscv64", own=runner)
    assert machine == HERE
    assert own_runner(runner, machine).machine == HERE


def test_a_runner_that_is_no_program_keeps_the_reported_machine(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing")
    for own in (tmp_path / "text", tmp_path / "nowhere"):
        assert chosen(tmp_path, "aarch64", own=own) == ("aarch64", [])


@pytest.mark.parametrize("machine", EMULATORS)
def test_the_small_program_runs_on_its_machine(tmp_path: Path, machine: str) -> None:
    emulator = shutil.which(EMULATORS[machine]) if EMULATORS[machine] else ""
    if emulator is None or (emulator == "" and HERE != "x86_64"):
        pytest.skip(f"nothing here starts programs for {machine}")
    path = tmp_path / "program"
    path.write_bytes(make_program(machine))
    path.chmod(0o755)
    try:
        ended = subprocess.run([*([emulator] if emulator else []), str(path)], timeout=60, check=False)
    except OSError as error:  # a kernel without support for 32-bit programs
        pytest.skip(f"{machine}: {os.strerror(error.errno or 0)}")
    assert ended.returncode == 42
