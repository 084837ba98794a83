"""Whatever ends a call or a connection over SSH or adb, no program, no connection and no thread of it stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from devices.access.connect import connect
from devices.errors import CommandError, DeviceLost, TransportTimeout
from devices.transports.shell.transport import ShellTransport
from tests.support.devices.loopback_daemons import LoopbackDaemon, transport_to
from tests.support.devices.real_processes import LASTING, STUBBORN, is_running, kill_if_running, python, wait_until


def test_a_killed_shell_is_not_taken_for_the_end_of_the_program(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    """Neither exit code nor end marker came: a loss. SSH says so at once; adb waits for those who hold the shell's
    output, which is the program itself, until the deadline ends it."""
    note, over_ssh = tmp_path / "pid", daemon.entry().transport == "ssh"

    def kill_shell(_line: str) -> None:
        psutil.Process(int(note.read_text())).parent().kill()  # type: ignore[union-attr]

    with pytest.raises(DeviceLost, match="without its end marker" if over_ssh else None):
        link_transport.stream(python(LASTING, str(note)), kill_shell, timeout_s=60 if over_ssh else 10)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_what_was_left_running_is_ended_by_the_next_connection(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    """Shell and watcher are dead too, as after the device's memory ran out."""
    entry, note = daemon.entry(workdir=str(tmp_path / "work")), tmp_path / "pid"
    Path(entry.workdir).mkdir()

    def lose(_line: str) -> None:
        program = psutil.Process(int(note.read_text()))
        shells = [program.parent(), *program.parent().children()]  # type: ignore[union-attr,list-item]
        for shell in shells:
            if shell is not None and shell.pid != program.pid:
                shell.kill()

    with pytest.raises(DeviceLost):
        link_transport.stream(python(STUBBORN, str(note)), lose, timeout_s=10, pid_file=f"{entry.workdir}/runner.pid")
    pid = int(note.read_text())
    try:
        assert is_running(pid)
        with connect(entry, tmp_path / "locks") as device:
            assert device.left_over_pid == pid
            assert not is_running(pid)
        with connect(entry, tmp_path / "locks") as device:
            assert device.left_over_pid is None
    finally:
        kill_if_running(pid)


ORCHESTRATOR = """
import sys
from devices.transports.adb.link import adb_transport
from devices.inventory.entry import DeviceEntry
from devices.transports.shell.conversation import Patience
from devices.transports.ssh.link import ssh_transport
entry = DeviceEntry.model_validate_json(sys.argv[1])
connect = {"adb": adb_transport, "ssh": ssh_transport}[entry.transport]
transport = connect(entry, patience=Patience(grace_s=0.5))
transport.stream(sys.argv[2:], lambda line: print(line, flush=True), timeout_s=600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_program_ends_with_the_orchestrator(daemon: LoopbackDaemon, tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    inner = python(STUBBORN, str(note))
    command = [sys.executable, "-c", ORCHESTRATOR, daemon.entry().model_dump_json(), *inner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == "up\n"
        assert daemon.connections()
        orchestrator.send_signal(number)
        assert orchestrator.wait(timeout=30) != 0
    wait_until(lambda: not is_running(int(note.read_text())))
    wait_until(lambda: not daemon.connections())


def test_the_end_of_a_connection_leaves_nothing(daemon: LoopbackDaemon) -> None:
    before = threading.active_count()
    transport = transport_to(daemon.entry())
    assert transport.run(["true"], timeout_s=20).end.rc == 0
    with pytest.raises(TransportTimeout):
        transport.run(["sleep", "600"], timeout_s=0.5)
    transport.close()
    transport.close()
    wait_until(lambda: not daemon.connections())
    wait_until(lambda: threading.active_count() <= before)
    with pytest.raises(DeviceLost):
        transport.exists("/")


def test_a_flood_of_output_ends_with_the_call(link_transport: ShellTransport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\nwhile True: os.write(1, b'x\\n' * 32768)"
    lines = 0

    def count(_line: str) -> None:
        nonlocal lines
        lines += 1
        if lines > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link_transport.stream(python(script, str(note)), count, timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))
    assert link_transport.exists("/")


def test_a_missing_tool_is_named_with_what_to_install(link_transport: ShellTransport) -> None:
    with pytest.raises(CommandError, match="the device has no 'frobnicate'"):
        link_transport._ask("look at", "/", "frobnicate --all", timeout_s=20)


def test_the_pid_file_has_the_hosts_format(link_transport: ShellTransport, tmp_path: Path) -> None:
    path, read = tmp_path / "it's a\n'pid' file", tmp_path / "read"
    records: list[dict[str, object]] = []

    def on_line(line: str) -> None:
        records.append(json.loads(path.read_text()) | {"printed": int(line)})
        read.touch()

    lasting = (
        "import os, sys, time; print(os.getpid(), flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(.02)"
    )
    link_transport.stream(python(lasting, str(read)), on_line, timeout_s=60, pid_file=str(path))
    assert records[0]["pid"] == records[0]["printed"]
    assert records[0]["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not path.exists()
