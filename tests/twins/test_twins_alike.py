"""The twin of a board and that of a phone behave as devices do, whichever link leads to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.twins.twin_devices import LINKS, make_twin, place_of, revive, shell
from tests.support.twins.twin_machine import until
from tests.support.twins.twin_packages import run_tool

pytestmark = pytest.mark.twins


@pytest.fixture(scope="module", params=LINKS)
def shared(request, tmp_path_factory):
    with make_twin(request.param, tmp_path_factory.mktemp(request.param), busybox=False) as running:
        yield running


@pytest.fixture
def twin(shared):
    """On, whatever the test before has done to it."""
    revive(shared)
    return shared


def sleep_for(twin, seconds):
    """A program of the twin that goes on sleeping after the shell which started it."""
    assert shell(twin, f"setsid sleep {seconds} >/dev/null 2>&1 </dev/null &").returncode == 0


def boot_id(twin):
    return shell(twin, "cat /proc/sys/kernel/random/boot_id").stdout.strip()


def test_it_runs_aarch64_and_exit_codes_come_through(twin):
    output = shell(twin, "uname -m; exit 3")
    assert (output.stdout, output.returncode) == ("aarch64\n", 3)


def test_it_shows_files_of_sys_as_they_are_changed(twin):
    zone = "/sys/class/thermal/thermal_zone0/temp"
    twin.write(zone, "61000\n")
    assert shell(twin, f"cat {zone}").stdout == "61000\n"


def test_it_has_processes_of_its_own_only(twin):
    commands = shell(twin, "cd /proc; for pid in [0-9]*; do tr '\\0' ' ' <$pid/cmdline; echo; done").stdout
    assert "/sshd" in commands or "/adbd" in commands
    assert sys.executable not in commands


def test_it_runs_the_bundle(twin, aarch64_runner):
    place = twin.workdir / "r"
    for file in aarch64_runner.files:
        (place / file.name).parent.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.source.read_bytes())
        (place / file.name).chmod(0o755)
    (place / "job.json").write_text("{}")
    there = place_of(twin, place)
    ended = shell(twin, f"{' '.join(aarch64_runner.command(there))} {there}/job.json")
    footer = json.loads(ended.stdout.splitlines()[0])
    assert (ended.returncode, footer["stage"]) == (1, "job")


def test_a_killed_daemon_leaves_programs_running_and_starts_again(twin):
    sleep_for(twin, 1000)
    twin.kill()
    assert twin.machine.named("1000")
    assert shell(twin, "true").returncode not in (0, None)
    twin.start()
    assert shell(twin, "echo back").stdout == "back\n"
    assert twin.machine.named("1000")


def test_power_off_ends_everything_and_the_next_start_is_another_boot(twin):
    sleep_for(twin, 2000)
    pids, before = twin.machine.named("2000"), boot_id(twin)
    assert pids
    twin.stop()
    for _ in until(10, "the program to end"):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            break
    twin.start()
    assert not twin.machine.named("2000")
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len({before, boot_id(twin), host, ""}) == 4


def test_a_paused_twin_is_silent_and_resumes(twin):
    twin.pause()
    daemons = twin.machine.named("sshd") + twin.machine.named("/adbd")  # now none of them can end meanwhile
    assert daemons
    assert {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in daemons} == {"T"}
    twin.resume()
    assert shell(twin, "echo back").stdout == "back\n"


def test_an_unplugged_cable_is_silent_until_it_is_back(twin):
    assert shell(twin, "echo there").stdout == "there\n"
    twin.link.unplug()
    try:
        with pytest.raises(OSError):
            socket.create_connection((twin.host, twin.port), 0.5)
        assert "dev twin" in run_tool("ip", "route", "get", twin.host)  # and not by way of the host's own network
    finally:
        twin.link.plug()
    assert shell(twin, "echo back").stdout == "back\n"


@pytest.mark.parametrize("link", LINKS)
def test_nothing_is_left_when_it_is_closed(link, tmp_path):
    twin = make_twin(link, tmp_path, busybox=False)
    twin.start()
    pids = list(twin.machine.processes())
    words = [str(tmp_path), *twin.environ.values()]
    twin.close()
    assert pids
    assert not twin.root.exists()
    assert str(twin.root) not in Path("/proc/self/mounts").read_text()
    assert twin.host not in run_tool("ip", "address")
    processes = run_tool("ps", "-e", "-o", "args").splitlines()
    assert not [line for line in processes if any(word in line for word in words)]
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], signal.SIGCONT)
