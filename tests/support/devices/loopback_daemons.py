"""What tests do to a device behind a real daemon on this host, over either link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from devices.inventory.entry import DeviceEntry
from devices.transports.adb.link import adb_transport
from devices.transports.shell.conversation import Patience
from devices.transports.shell.transport import ShellTransport
from devices.transports.ssh.link import ssh_transport
from tests.support.devices.loopback_adbd import LoopbackAdbd
from tests.support.devices.loopback_sshd import LoopbackSshd

LINKS = ("ssh", pytest.param("adb", marks=pytest.mark.twins))
IMPATIENT = Patience(silence_s=0.5, answer_s=5.0, grace_s=0.5)


class LoopbackDaemon(Protocol):
    """A daemon on this host's own files, so that all its effects are visible here."""

    folder: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """A process's environment for reaching it."""

    def entry(self, **changes: Any) -> DeviceEntry:
        """The inventory entry of its device."""

    def start(self, *, restore_signals: bool = True) -> None:
        """Starts it, at the same address as before."""

    def kill(self) -> None:
        """Kills it and its connections; programs that it started go on."""

    def stop_moving(self) -> None:
        """Sends SIGSTOP: its system still accepts connections and acknowledges every packet."""

    def move_again(self) -> None:
        """Sends SIGCONT."""

    def revive(self) -> None:
        """Makes it run again, whatever was done to it."""

    def connections(self) -> int:
        """Returns the number of open connections."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_raised: object) -> None: ...


def loopback_daemon(link: str, folder: Path) -> LoopbackDaemon:
    """Starts a daemon for the block."""
    daemon: LoopbackDaemon = LoopbackAdbd(folder) if link == "adb" else LoopbackSshd(folder)
    return daemon


def transport_to(entry: DeviceEntry, patience: Patience | None = IMPATIENT) -> ShellTransport:
    """Opens a new connection; over adb, through the server that the environment names."""
    connect = adb_transport if entry.transport == "adb" else ssh_transport
    return connect(entry, patience=patience)


@pytest.fixture(scope="module", params=LINKS)
def mistreated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackDaemon]:
    """One daemon for each link and module of tests, which may leave it in any state."""
    with loopback_daemon(request.param, tmp_path_factory.mktemp(request.param)) as daemon:
        yield daemon


@pytest.fixture
def daemon(mistreated: LoopbackDaemon, monkeypatch: pytest.MonkeyPatch) -> LoopbackDaemon:
    """A running daemon, whatever the test before has done to it; the environment leads to it."""
    mistreated.revive()
    for name, value in mistreated.environ.items():
        monkeypatch.setenv(name, value)
    return mistreated


@pytest.fixture
def link_transport(daemon: LoopbackDaemon) -> Iterator[ShellTransport]:
    """Opens a connection that notices silence soon."""
    transport = transport_to(daemon.entry())
    yield transport
    transport.close()
