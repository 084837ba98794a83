"""Deploying over a shell: what it costs in round trips, and what a link that breaks in the middle leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.deployment.deploy import DeployFile, deploy
from devices.errors import CommandError
from devices.processes import Deadline
from devices.transports.shell import scripts
from devices.transports.shell.calls import Calls
from devices.transports.shell.conversation import Patience
from devices.transports.shell.transport import ShellTransport
from tests.support.devices.made_files import MakeFile
from tests.support.devices.process_link import ProcessLink, android_link, busybox_link


@dataclass(frozen=True)
class Board:
    """A small board at the end of a link."""

    link: ProcessLink
    transport: ShellTransport

    def trips(self, files: list[DeployFile], folder: Path) -> int:
        """Returns the number of conversations of a deploy."""
        before = len(self.link.opened)
        deploy(self.transport, files, str(folder))
        return len(self.link.opened) - before


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with contextlib.closing(busybox_link(tmp_path / "tools")) as link:
        yield Board(link, ShellTransport(link, patience=Patience(grace_s=0.5)))


def test_a_pushed_file_costs_one_round_trip_and_files_that_are_there_two_together(
    board: Board, make_file: MakeFile, tmp_path: Path
) -> None:
    files = [make_file(f"lib/{number}.so", bytes(1000 + number)) for number in range(9)]
    few, many = board.trips(files[:3], tmp_path / "few"), board.trips(files, tmp_path / "many")
    assert many - few == 6
    assert few <= 3 + 5  # what is there, temporary files, the folder, its free space, the manifest
    assert board.trips(files, tmp_path / "many") == 2


def test_a_device_that_cannot_hash_is_refused_with_what_it_lacks(make_file: MakeFile, tmp_path: Path) -> None:
    link = android_link(tmp_path / "tools")
    (tmp_path / "tools" / "sha256sum").unlink()
    with contextlib.closing(link), pytest.raises(CommandError, match="the device has no 'python3'"):
        deploy(ShellTransport(link), [make_file()], str(tmp_path / "folder"))
    assert not (tmp_path / "folder" / "program.pte").exists()


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_an_incomplete_file_never_replaces_the_old_one(board: Board, tmp_path: Path, sha256: str) -> None:
    """As when the link breaks in the middle: the device sees the end of its input."""
    (tmp_path / "file").write_bytes(b"old content")
    arguments = [str(tmp_path / "part"), "0", "65536", "644", str(tmp_path / "file"), "9", sha256]
    end = Calls(board.link, Patience()).operate(
        scripts.PUSH,
        arguments,
        what="the copy",
        deadline=Deadline(20),
        on_output=lambda _chunk: None,
        feed=iter([b"new", b"co"]),
    )
    assert bool(end.rc) == (not sha256)
    assert (tmp_path / "file").read_bytes() == b"old content"
    assert (tmp_path / "part").exists() == bool(sha256)  # the next deploy continues it
