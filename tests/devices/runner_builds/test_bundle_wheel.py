"""The wheel of another machine: pinned, verified, kept once, never half."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.metadata
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from devices.runner_builds.build import RunnerBuildError
from devices.runner_builds.bundle import WHEELS, Wheel, fetch, pinned_wheel


@pytest.fixture
def archive(tmp_path):
    """A small file in place of the wheel."""
    path = tmp_path / "executorch-9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("executorch/lib/libexecutorch.so", "library")
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"library").digest()).decode().rstrip("=")
        record = f"executorch/lib/libexecutorch.so,sha256={digest},7\nexecutorch-9.dist-info/RECORD,,\n"
        file.writestr("executorch-9.dist-info/RECORD", record)
    return path


@pytest.fixture
def wheel(archive):
    content = archive.read_bytes()
    return Wheel("9", "aarch64", hashlib.sha256(content).hexdigest(), len(content), "manylinux_2_28_aarch64")


@pytest.fixture
def pip(archive, monkeypatch):
    """Stands in for pip: provides the archive, or fails. Keeps the commands."""
    commands = []

    def run(argv, **_options):
        commands.append(argv)
        if pip_fails:
            return subprocess.CompletedProcess(argv, 1, "", "ERROR: no network\n")
        target = Path(argv[argv.index("--dest") + 1]) / archive.name
        target.write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(argv, 0, "", "")

    pip_fails = []
    monkeypatch.setattr(subprocess, "run", run)
    run.fails, run.commands = pip_fails, commands
    return run


def test_it_is_downloaded_once_and_announced(wheel, pip, tmp_path):
    notes = []
    package = fetch(wheel, tmp_path / "cache", notes.append)
    assert fetch(wheel, tmp_path / "cache", notes.append) == package
    assert (package / "lib/libexecutorch.so").read_text() == "library"
    assert (len(pip.commands), len(notes)) == (1, 1)
    assert "--only-binary=:all:" in pip.commands[0]
    assert pip.commands[0][-1] == "executorch==9"


def change(package: Path) -> None:
    (package / "lib/libexecutorch.so").write_text("librarx")


def add(package: Path) -> None:
    (package / "lib/other.so").touch()


def remove(package: Path) -> None:
    (package / "lib/libexecutorch.so").unlink()


def lose_the_record(package: Path) -> None:
    (package.parent / "executorch-9.dist-info/RECORD").unlink()


def garble_the_record(package: Path) -> None:
    (package.parent / "executorch-9.dist-info/RECORD").write_text("x\n")


def replace_by_a_pipe(package: Path) -> None:
    remove(package)
    os.mkfifo(package / "lib/libexecutorch.so")


@pytest.mark.parametrize("damage", [change, add, remove, lose_the_record, garble_the_record, replace_by_a_pipe])
def test_a_wheel_that_changed_since_it_was_unpacked_is_fetched_again(wheel, pip, tmp_path, damage):
    notes = []
    package = fetch(wheel, tmp_path / "cache", notes.append)
    damage(package)
    assert fetch(wheel, tmp_path / "cache", notes.append) == package
    assert sorted(path.name for path in (package / "lib").iterdir()) == ["libexecutorch.so"]
    assert (package / "lib/libexecutorch.so").read_text() == "library"
    assert len(pip.commands) == 2
    assert "was changed or is damaged: fetching it again" in notes[1]


def test_other_content_is_refused_and_nothing_is_kept(wheel, pip, tmp_path):
    other = dataclasses.replace(wheel, sha256="0" * 64)
    with pytest.raises(RunnerBuildError, match=f"{wheel.sha256}, but {'0' * 64} is pinned"):
        fetch(other, tmp_path / "cache", print)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_failed_download_is_reported_with_the_reason_and_the_alternatives(wheel, pip, tmp_path):
    pip.fails.append(True)
    with pytest.raises(RunnerBuildError, match=r"no network.*runner: PATH"):
        fetch(wheel, tmp_path / "cache", print)


def test_what_a_killed_download_left_is_removed(wheel, pip, tmp_path):
    (tmp_path / "cache/.fetching-dead").mkdir(parents=True)
    fetch(wheel, tmp_path / "cache", print)
    assert not (tmp_path / "cache/.fetching-dead").exists()


def test_the_installed_version_is_pinned():
    assert pinned_wheel(importlib.metadata.version("executorch"), "aarch64") in WHEELS


def test_a_version_that_is_not_pinned_is_refused():
    with pytest.raises(RunnerBuildError, match=r"executorch 0\.1 for aarch64.*known: 1\.5\.1 for aarch64"):
        pinned_wheel("0.1", "aarch64")
