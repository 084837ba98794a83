"""The transports that share one contract, each made anew for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devices.transports.adb.link import adb_transport
from devices.transports.local.transport import LocalTransport
from devices.transports.shell.conversation import Patience
from devices.transports.shell.transport import ShellTransport
from devices.transports.ssh.link import ssh_transport
from devices.transports.transport import Transport
from tests.support.devices.loopback_adbd import LoopbackAdbd
from tests.support.devices.loopback_sshd import LoopbackSshd
from tests.support.devices.process_link import android_link, busybox_link

MakeTransport = Callable[[float], Transport]

KINDS = ("local", "ssh", pytest.param("adb", marks=pytest.mark.twins), "busybox", "android")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    """One server for all tests that leave it unchanged."""
    server = LoopbackSshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def adbd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackAdbd]:
    """One daemon with its adb server for all tests that leave them unchanged."""
    with LoopbackAdbd(tmp_path_factory.mktemp("adbd")) as daemon:
        yield daemon


@pytest.fixture(params=KINDS)
def make_transport(
    request: pytest.FixtureRequest, sshd: LoopbackSshd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeTransport]:
    """Makes a transport of each kind with the grace period in seconds."""
    with ExitStack() as stack:

        def make(grace_s: float) -> Transport:
            patience = Patience(grace_s=grace_s)
            made: Transport
            if request.param == "local":
                made = LocalTransport(grace_s=grace_s)
            elif request.param == "ssh":
                made = ssh_transport(sshd.entry(), patience=patience)
            elif request.param == "adb":
                # Asked for here alone, as the others need neither root nor its packages.
                daemon: LoopbackAdbd = request.getfixturevalue("adbd")
                made = adb_transport(daemon.entry(), patience=patience, server=daemon.server)
            else:
                link = {"busybox": busybox_link, "android": android_link}[request.param]
                tools: Path = tmp_path_factory.mktemp("tools") / "bin"
                made = ShellTransport(link(tools), patience=patience)
            stack.callback(made.close)
            return made

        yield make
