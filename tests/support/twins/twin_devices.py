"""Twins of both links behind one Protocol, for tests that hold over either, and clients other than the suite's."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from tests.support.twins.twin_adb import AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE, RASPBERRY_PI_5, Board
from tests.support.twins.twin_link import Link
from tests.support.twins.twin_machine import Machine
from tests.support.twins.twin_ssh import SshTwin

LINKS = ("ssh", "adb")


class Twin(Protocol):
    """What `SshTwin` and `AdbTwin` have in common."""

    board: Board
    root: Path
    machine: Machine
    host: str
    port: int

    @property
    def link(self) -> Link | None: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def workdir(self) -> Path: ...

    def entry(self, **more: Any) -> dict[str, Any]: ...

    def write(self, path: str, text: str) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_raised: object) -> None: ...


def make_twin(link: str, folder: Path, *, emulated: bool = True, busybox: bool = True) -> Twin:
    """A board behind OpenSSH, or a phone behind adbd; both on a cable, with their own processor or with this host's."""
    board = ANDROID_PHONE if link == "adb" else RASPBERRY_PI_5
    if not emulated:
        board = board.on_this_host()
    if link == "adb":
        return AdbTwin(folder, board)
    return SshTwin(folder, board, cable=True, busybox=busybox)


def revive(twin: Twin) -> None:
    """Makes it run, move and answer again, whatever a test has done to it."""
    if twin.machine.running:
        twin.resume()
        if twin.link is not None:
            twin.link.plug()
    if not (twin.machine.running and (twin.machine.named("sshd") or twin.machine.named("/adbd"))):
        twin.start()


def place_of(twin: Twin, path: Path) -> str:
    """Returns a file's path within the twin."""
    return f"/{path.relative_to(twin.root)}"


def shell(twin: Twin, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line on it through OpenSSH's or adb's client."""
    if isinstance(twin, AdbTwin):
        return twin.adb("-s", twin.serial, "shell", command)
    assert isinstance(twin, SshTwin)
    return ssh(twin, command)


def ssh(twin: SshTwin, *argv: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """OpenSSH's client, which trusts the twin's present host key alone."""
    known = twin.folder / "known_hosts"
    known.write_text(twin.known_hosts_line)
    client = [
        "ssh",
        "-F",
        "none",
        "-i",
        str(twin.client_key),
        "-p",
        str(twin.port),
        "-o",
        f"UserKnownHostsFile={known}",
    ]
    client += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    command = [*client, f"{twin.user}@{twin.host}", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
