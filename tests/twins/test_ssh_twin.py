"""The twin of a board behaves as one on the network does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from twin_boards import JETSON_NANO, RASPBERRY_PI_4
from twin_machine import until
from twin_packages import run_tool
from twin_ssh import SshTwin


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with SshTwin(tmp_path_factory.mktemp("twin"), JETSON_NANO) as running:
        yield running


@pytest.fixture
def ssh(tmp_path):
    """Runs a command of OpenSSH's client against a twin."""

    def command(twin, *argv, **options):
        known = tmp_path / "known_hosts"
        known.write_text(twin.known_hosts_line)
        client = ["ssh", "-F", "none", "-i", twin.client_key, "-p", str(twin.port), "-o", f"UserKnownHostsFile={known}"]
        client += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        return subprocess.run(
            [*client, f"{twin.user}@{twin.host}", *argv],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    return command


def test_it_is_an_aarch64_board_with_its_own_kernel_release(twin, ssh):
    assert ssh(twin, "uname", "-m", "-r").stdout.split() == ["4.9.337-tegra", "aarch64"]
    assert "CPU part\t: 0xd07" in ssh(twin, "cat", "/proc/cpuinfo").stdout


def test_it_shows_files_of_sys_as_they_are_changed(twin, ssh):
    zone = "/sys/class/thermal/thermal_zone1/temp"
    twin.write(zone, "61000\n")
    assert ssh(twin, "cat", zone).stdout == "61000\n"


def test_it_has_processes_of_its_own_only(twin, ssh):
    seen = ssh(twin, "ps", "-e", "-o", "pid=,args=").stdout
    assert "sshd" in seen
    assert str(os.getpid()) not in {line.split()[0] for line in seen.splitlines()}


def test_it_runs_the_bundle(twin, ssh, aarch64_runner):
    place = twin.home / "runner"
    for file in aarch64_runner.files:
        (place / file.name).parent.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.source.read_bytes())
        (place / file.name).chmod(0o755)
    (place / "job.json").write_text("{}")
    ended = ssh(twin, *aarch64_runner.command("./runner"), "runner/job.json")
    footer = json.loads(ended.stdout.splitlines()[0])
    assert (ended.returncode, footer["stage"]) == (1, "job")


def test_its_fingerprint_is_what_a_client_sees(twin):
    scan = run_tool("ssh-keyscan", "-t", "ed25519", "-p", str(twin.port), twin.host)
    assert twin.host_public_key in scan
    assert twin.fingerprint in run_tool("ssh-keygen", "-l", "-f", "-", stdin=scan)


def test_a_wrong_host_key_is_seen(tmp_path, ssh):
    with SshTwin(tmp_path, RASPBERRY_PI_4) as twin:
        before = twin.known_hosts_line
        twin.stop()
        twin.new_host_key()
        twin.start()
        assert twin.known_hosts_line != before
        assert ssh(twin, "true").returncode == 0


def test_a_killed_daemon_leaves_programs_running_and_starts_again(tmp_path, ssh):
    with SshTwin(tmp_path, RASPBERRY_PI_4) as twin:
        ssh(twin, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
        twin.kill()
        assert twin.machine.named("1000")
        assert ssh(twin, "true").returncode == 255
        twin.start()
        assert ssh(twin, "vcgencmd", "get_throttled").stdout == "throttled=0x0\n"


def test_power_off_ends_everything(tmp_path, ssh):
    with SshTwin(tmp_path, RASPBERRY_PI_4) as twin:
        ssh(twin, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
        pids = twin.machine.named("1000")
        twin.stop()
        assert pids
        for _ in until(10, "the program to end"):
            if not any(Path(f"/proc/{pid}").exists() for pid in pids):
                break


def test_a_paused_twin_is_silent_and_resumes(tmp_path, ssh):
    with SshTwin(tmp_path, RASPBERRY_PI_4) as twin:
        twin.pause()
        states = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in twin.machine.named("sshd")
        ]
        assert set(states) == {"T"}
        twin.resume()
        assert ssh(twin, "echo", "back").stdout == "back\n"


def test_an_unplugged_cable_is_silent_until_it_is_back(tmp_path, ssh):
    with SshTwin(tmp_path, RASPBERRY_PI_4, cable=True) as twin:
        assert ssh(twin, "echo", "there").stdout == "there\n"
        twin.link.unplug()
        with pytest.raises(OSError):
            socket.create_connection((twin.host, twin.port), 0.5)
        twin.link.plug()
        assert ssh(twin, "echo", "back").stdout == "back\n"
    assert twin.host not in run_tool("ip", "address")


def test_nothing_is_left_when_it_is_closed(tmp_path):
    twin = SshTwin(tmp_path, RASPBERRY_PI_4)
    twin.start()
    pids = list(twin.machine.processes())
    twin.close()
    assert not twin.root.exists()
    assert str(twin.root) not in Path("/proc/self/mounts").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], signal.SIGCONT)
