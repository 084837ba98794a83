"""Files that don't arrive whole over SSH or adb: the disk is full, or the link breaks in the middle."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

import pytest

from devices.deployment.deploy import deploy
from devices.errors import DeployError, DeviceLost, FileCause, FileError
from devices.transports.shell.transport import ShellTransport
from tests.support.devices.loopback_daemons import LoopbackDaemon, transport_to
from tests.support.devices.made_files import MakeFile
from tests.support.devices.real_processes import wait_until


def test_a_full_disk_is_named_and_leaves_no_file(daemon: LoopbackDaemon, tmp_path: Path, make_file: MakeFile) -> None:
    """The disk is a limit on the size of files, which the system refuses in the same place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN  # so that it is an error there and no signal
    daemon.kill()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        daemon.start(restore_signals=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    try:
        transport = transport_to(daemon.entry())
        file = make_file("large", os.urandom(3 << 20))
        with pytest.raises(FileError) as caught:
            transport.push(file.source, str(tmp_path / "copy"), timeout_s=60)
        assert caught.value.cause is FileCause.FULL
        with pytest.raises(DeployError, match="the disk is full"):
            deploy(transport, [file], str(tmp_path / "artifacts"))
        assert list((tmp_path / "artifacts").iterdir()) == []
        transport.close()
    finally:
        daemon.kill()


def test_an_interrupted_push_continues_over_the_next_connection(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path, make_file: MakeFile
) -> None:
    file = make_file("large", os.urandom(48 << 20))
    folder = tmp_path / "two words" / "artifacts"

    def cut(_name: str, done: int, _size: int) -> None:
        if done > 24 << 20:
            daemon.kill()

    with pytest.raises(DeviceLost):
        deploy(link_transport, [file], str(folder), on_progress=cut)
    (part,) = folder.iterdir()
    wait_until(lambda: not _is_open(part))  # whoever wrote it on the device has seen the end of its input
    daemon.start()
    again = transport_to(daemon.entry())
    sizes: list[int] = []
    deploy(again, [file], str(folder), on_progress=lambda _name, done, _size: sizes.append(done))
    again.close()
    assert sizes[0] > 4 << 20
    assert (folder / file.name).read_bytes() == file.source.read_bytes()


def _is_open(path: Path) -> bool:
    """Whether any process has the file open."""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if entry.readlink() == path:
                return True
    return False
