"""adb when things go wrong: the loss is named in time, and nothing is left running on the device."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from loopback_adbd import LoopbackAdbd
from made_files import MakeFile
from real_processes import is_running, kill_if_running, python, wait_until

from devices.adb import adb_transport
from devices.connect import connect
from devices.deploy import deploy
from devices.errors import DeployError, DeviceLost, FileCause, FileError, TransportTimeout
from devices.shell.conversation import Patience
from devices.shell.transport import ShellTransport

PATIENCE = Patience(silence_s=0.5, answer_s=2.0, grace_s=0.5)
NAMED = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NAMED


@pytest.fixture(scope="module")
def mistreated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackAdbd]:
    with LoopbackAdbd(tmp_path_factory.mktemp("adbd")) as daemon:
        yield daemon


@pytest.fixture
def daemon(mistreated: LoopbackAdbd) -> LoopbackAdbd:
    """One of this module's own, running whatever the test before has done to it."""
    mistreated.revive()
    return mistreated


@pytest.fixture
def transport(daemon: LoopbackAdbd) -> Iterator[ShellTransport]:
    transport = new_transport(daemon)
    yield transport
    transport.close()


def new_transport(daemon: LoopbackAdbd) -> ShellTransport:
    return adb_transport(daemon.entry(), patience=PATIENCE, server=daemon.server)


def test_a_daemon_killed_in_mid_stream_is_a_lost_device_and_its_program_ends(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="adb ended the connection to device 'phone'"):
        transport.stream(python(NAMED, str(note)), lambda _line: daemon.kill(), timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_new_transport_serves_after_the_old_one_was_lost(daemon: LoopbackAdbd, transport: ShellTransport) -> None:
    daemon.kill()
    with pytest.raises(DeviceLost, match=r"gone from adb|did not start a shell"):
        transport.exists("/")
    with pytest.raises(DeviceLost, match="can't be reached over the network"):
        adb_transport(daemon.entry(connect_timeout_s=2), server=daemon.server)
    daemon.start()
    assert new_transport(daemon).exists("/")
    with pytest.raises(DeviceLost, match="given up"):
        transport.exists("/")


def test_a_server_killed_in_mid_stream_is_a_lost_device_and_its_program_ends(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="adb ended the connection"):
        transport.stream(python(NAMED, str(note)), lambda _line: daemon.kill_server(), timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_killed_server_is_started_by_the_next_connection_and_not_by_a_call(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where a server keeps its key
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(daemon.server.port))  # where adbutils would start one
    daemon.kill_server()
    with pytest.raises(DeviceLost, match=r"the adb server at .* is gone"):
        transport.exists("/")
    assert not daemon.server.running()
    assert new_transport(daemon).exists("/")


def test_a_stopped_server_is_a_lost_device_long_before_the_deadline(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note, server = tmp_path / "pid", daemon.process_on(daemon.server.port)
    try:
        with pytest.raises(DeviceLost, match=r"the adb server at .* did not answer within .* `adb kill-server`"):
            transport.stream(python(NAMED, str(note)), lambda _line: server.suspend(), timeout_s=3600)
    finally:
        server.resume()
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_stopped_daemon_is_a_lost_device_long_before_the_deadline(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    """Its system still acknowledges every packet, so only a missing answer tells."""
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="did not answer"):
        transport.stream(python(NAMED, str(note)), lambda _line: daemon.stop_moving(), timeout_s=3600)
    daemon.kill()
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_program_of_a_lost_connection_ends_when_the_daemon_moves_again(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost):
        transport.stream(python(NAMED, str(note)), lambda _line: daemon.stop_moving(), timeout_s=3600)
    daemon.move_again()
    wait_until(lambda: not is_running(int(note.read_text())))


@pytest.mark.parametrize("call", ["run", "exists", "read_texts", "write"])
def test_a_stopped_daemon_is_a_lost_device_within_the_deadline_of_any_call(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path, call: str
) -> None:
    daemon.stop_moving()
    calls = {
        "run": lambda: transport.run(["true"], timeout_s=3),
        "exists": lambda: transport.exists("/", timeout_s=3),
        "read_texts": lambda: transport.read_texts(["/proc/version"], timeout_s=3),
        "write": lambda: transport.write(str(tmp_path / "file"), b"x", timeout_s=3),
    }
    with pytest.raises(DeviceLost):
        calls[call]()


def test_a_daemon_that_stops_in_the_middle_of_a_push_is_a_lost_device(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    with (tmp_path / "source").open("wb") as stream:
        stream.truncate(400 << 20)

    def stop(done: int, _size: int) -> None:
        if done > 20 << 20:
            daemon.stop_moving()

    with pytest.raises(DeviceLost, match="did not answer"):
        transport.push(tmp_path / "source", str(tmp_path / "copy"), timeout_s=600, on_progress=stop)


def test_a_pulled_cable_is_a_lost_device_and_a_plugged_one_serves_again(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note, pid_file = tmp_path / "pid", tmp_path / "runner.pid"
    with pytest.raises(DeviceLost, match="did not answer"):
        transport.stream(
            python(NAMED, str(note)),
            lambda _line: daemon.link.unplug(),
            timeout_s=3600,
            pid_file=str(pid_file),
        )
    pid = int(note.read_text())
    assert is_running(pid)  # nobody has told the device
    daemon.link.plug()
    new_transport(daemon).end_left_over(str(pid_file))
    wait_until(lambda: not is_running(pid))


def test_a_slow_program_at_a_daemon_that_answers_runs_to_its_deadline(transport: ShellTransport) -> None:
    """It says nothing for longer than a peer may stay silent, and is no lost device."""
    with pytest.raises(TransportTimeout, match="did not end within 4 s"):
        transport.run(["sleep", "600"], timeout_s=4)
    assert transport.run(["sleep", "2"], timeout_s=60).rc == 0


def test_a_shell_that_is_killed_is_no_end_of_the_program(transport: ShellTransport, tmp_path: Path) -> None:
    """The daemon waits for those who hold the shell's output: the program itself, until the deadline ends it."""
    note = tmp_path / "pid"

    def kill_shell(_line: str) -> None:
        psutil.Process(int(note.read_text())).parent().kill()  # type: ignore[union-attr]

    with pytest.raises(DeviceLost):
        transport.stream(python(NAMED, str(note)), kill_shell, timeout_s=4)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_what_was_left_running_is_ended_by_the_next_connection(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shell and watcher are dead too, as after the device's memory ran out."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(daemon.server.port))
    entry, note = daemon.entry(workdir=str(tmp_path / "work")), tmp_path / "pid"
    Path(entry.workdir).mkdir()

    def lose(_line: str) -> None:
        program = psutil.Process(int(note.read_text()))
        shells = [program.parent(), *program.parent().children()]  # type: ignore[union-attr,list-item]
        for shell in shells:
            if shell is not None and shell.pid != program.pid:
                shell.kill()

    with pytest.raises(DeviceLost):
        transport.stream(python(STUBBORN, str(note)), lose, timeout_s=2, pid_file=f"{entry.workdir}/runner.pid")
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
from devices.adb import adb_transport
from devices.adb.server import AdbServer
from devices.entry import DeviceEntry
from devices.shell.conversation import Patience
entry, server = DeviceEntry.model_validate_json(sys.argv[1]), AdbServer(port=int(sys.argv[2]))
transport = adb_transport(entry, patience=Patience(grace_s=0.5), server=server)
transport.stream(sys.argv[3:], lambda line: print(line, flush=True), timeout_s=600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_program_ends_with_the_orchestrator(daemon: LoopbackAdbd, tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    inner = python(STUBBORN, str(note))
    arguments = [daemon.entry().model_dump_json(), str(daemon.server.port), *inner]
    command = [sys.executable, "-c", ORCHESTRATOR, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == "up\n"
        orchestrator.send_signal(number)
        assert orchestrator.wait(timeout=30) != 0
    wait_until(lambda: not is_running(int(note.read_text())))


def test_calls_leave_no_connection_to_the_server(daemon: LoopbackAdbd, transport: ShellTransport) -> None:
    def connections() -> int:
        there = daemon.server.port
        mine = psutil.Process().net_connections("tcp")
        return sum(1 for one in mine if one.raddr and one.raddr.port == there and one.status == psutil.CONN_ESTABLISHED)

    for _ in range(3):
        assert transport.run(["true"], timeout_s=20).rc == 0
    with pytest.raises(TransportTimeout):
        transport.run(["sleep", "600"], timeout_s=0.5)
    wait_until(lambda: connections() == 0)
    transport.close()
    transport.close()
    with pytest.raises(DeviceLost):
        transport.exists("/")


def test_a_full_disk_is_named_and_leaves_no_file(daemon: LoopbackAdbd, tmp_path: Path, make_file: MakeFile) -> None:
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
        transport = new_transport(daemon)
        file = make_file("large", os.urandom(3 << 20))
        with pytest.raises(FileError) as caught:
            transport.push(file.source, str(tmp_path / "copy"), timeout_s=60)
        assert caught.value.cause is FileCause.FULL
        with pytest.raises(DeployError, match="the disk is full"):
            deploy(transport, [file], str(tmp_path / "artifacts"))
        assert list((tmp_path / "artifacts").iterdir()) == []
    finally:
        daemon.kill()


def test_a_push_that_broke_off_goes_on_over_the_next_connection(
    daemon: LoopbackAdbd, transport: ShellTransport, tmp_path: Path, make_file: MakeFile
) -> None:
    file = make_file("large", os.urandom(48 << 20))
    folder = tmp_path / "two words" / "artifacts"

    def cut(_name: str, done: int, _size: int) -> None:
        if done > 24 << 20:
            daemon.kill()

    with pytest.raises(DeviceLost):
        deploy(transport, [file], str(folder), on_progress=cut)
    (part,) = folder.iterdir()
    wait_until(lambda: part.stat().st_size == _settled(part))
    daemon.start()
    seen: list[int] = []
    deploy(new_transport(daemon), [file], str(folder), on_progress=lambda _name, done, _size: seen.append(done))
    assert seen[0] > 4 << 20
    assert (folder / file.name).read_bytes() == file.source.read_bytes()


def _settled(path: Path) -> int:
    size = path.stat().st_size
    time.sleep(0.2)
    return size


def test_a_flood_of_output_ends_with_the_call(transport: ShellTransport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\nwhile True: os.write(1, b'x\\n' * 32768)"
    lines = 0

    def count(_line: str) -> None:
        nonlocal lines
        lines += 1
        if lines > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transport.stream(python(script, str(note)), count, timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))
    assert transport.exists("/")
