"""What goes wrong over SSH alone."""

from __future__ import annotations

import socket

import pytest

from devices.errors import DeviceLost
from devices.transports.ssh.link import ssh_transport
from tests.support.devices.loopback_daemons import transport_to
from tests.support.devices.loopback_sshd import LoopbackSshd


def test_a_peer_that_accepts_and_stays_silent_is_lost_within_the_connect_timeout(
    sshd: LoopbackSshd,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = sshd.entry(port=silent.getsockname()[1], connect_timeout_s=1)
        with pytest.raises(DeviceLost, match="did not complete the SSH handshake within 1 s"):
            ssh_transport(entry)


def test_output_of_a_login_profile_is_ignored(sshd: LoopbackSshd) -> None:
    profile = sshd.folder / ".bashrc"
    profile.write_text("echo welcome; echo $'\\x1e' warning >&2; export LC_ALL=xx\n")
    try:
        transport = transport_to(sshd.entry())
        result = transport.run(["sh", "-c", "echo out; echo err >&2"], timeout_s=20)
        transport.close()
    finally:
        profile.unlink()
    assert (result.stdout, result.end.stderr_tail) == ("out\n", "err\n")
