"""What only the twin of a board behind OpenSSH has: host keys, and the kernel and tools of its board."""

from __future__ import annotations

import pytest

from tests.support.twins.twin_boards import JETSON_NANO, RASPBERRY_PI_4
from tests.support.twins.twin_devices import ssh
from tests.support.twins.twin_packages import run_tool
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    with SshTwin(tmp_path_factory.mktemp("nano"), JETSON_NANO) as running:
        yield running


def test_it_is_an_aarch64_board_with_its_own_kernel_release(nano):
    assert ssh(nano, "uname", "-m", "-r").stdout.split() == ["4.9.337-tegra", "aarch64"]
    assert "CPU part\t: 0xd07" in ssh(nano, "cat", "/proc/cpuinfo").stdout


def test_its_fingerprint_is_what_a_client_sees(nano):
    scan = run_tool("ssh-keyscan", "-T", "120", "-t", "ed25519", "-p", str(nano.port), nano.host)
    assert nano.host_public_key in scan
    assert nano.fingerprint in run_tool("ssh-keygen", "-l", "-f", "-", stdin=scan)


def test_a_wrong_host_key_is_seen_and_commands_of_the_board_are_there(tmp_path):
    with SshTwin(tmp_path, RASPBERRY_PI_4) as twin:
        assert ssh(twin, "vcgencmd", "get_throttled").stdout == "throttled=0x0\n"
        before = twin.known_hosts_line
        twin.stop()
        twin.new_host_key()
        twin.start()
        assert twin.known_hosts_line != before
        assert ssh(twin, "true").returncode == 0
