"""What tests do to a device on this host that is behind a real daemon, whichever link leads to it."""

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
IMPATIENT = Patience(silence_s=0.5, answer_s=2.0, grace_s=0.5)


class LoopbackDaemon(Protocol):
    """A daemon that runs on this host's own files, so that all that is done through it can be seen from here."""

    folder: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs in its environment to reach it."""

    def entry(self, **changes: Any) -> DeviceEntry:
        """The device that it serves."""

    def start(self, *, restore_signals: bool = True) -> None:
        """Listens where it did before, if it did."""

    def kill(self) -> None:
        """SIGKILL for it and its connections; programs that it started go on."""

    def stop_moving(self) -> None:
        """SIGSTOP: its system still takes connections and acknowledges every packet."""

    def move_again(self) -> None:
        """SIGCONT."""

    def revive(self) -> None:
        """Runs after this, whatever was done to it."""

    def connections(self) -> int:
        """How many connections to it are open."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_raised: object) -> None: ...


def loopback_daemon(link: str, folder: Path) -> LoopbackDaemon:
    """One that is started when it is entered, and gone when it is left."""
    daemon: LoopbackDaemon = LoopbackAdbd(folder) if link == "adb" else LoopbackSshd(folder)
    return daemon


def transport_to(entry: DeviceEntry, patience: Patience | None = IMPATIENT) -> ShellTransport:
    """A new connection; over adb by way of the server that the environment names."""
    connect = adb_transport if entry.transport == "adb" else ssh_transport
    return connect(entry, patience=patience)


@pytest.fixture(scope="module", params=LINKS)
def mistreated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackDaemon]:
    """One of each link for a module of tests that leave it as they like."""
    with loopback_daemon(request.param, tmp_path_factory.mktemp(request.param)) as daemon:
        yield daemon


@pytest.fixture
def daemon(mistreated: LoopbackDaemon, monkeypatch: pytest.MonkeyPatch) -> LoopbackDaemon:
    """Running, whatever the test before has done to it; the environment leads to it."""
    mistreated.revive()
    for name, value in mistreated.environ.items():
        monkeypatch.setenv(name, value)
    return mistreated


@pytest.fixture
def link_transport(daemon: LoopbackDaemon) -> Iterator[ShellTransport]:
    """A connection to it that notices silence soon."""
    transport = transport_to(daemon.entry())
    yield transport
    transport.close()
