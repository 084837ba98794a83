"""SSH when things go wrong: the loss is named in time, and nothing is left running on the device."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from loopback_sshd import LoopbackSshd
from made_files import MakeFile
from real_processes import is_running, kill_if_running, python, wait_until

from devices.connect import connect
from devices.deploy import deploy
from devices.errors import CommandError, DeployError, DeviceLost, FileCause, FileError, TransportTimeout
from devices.shell.conversation import Patience
from devices.shell.transport import ShellTransport
from devices.ssh import ssh_transport

PATIENCE = Patience(silence_s=0.5, answer_s=2.0, grace_s=0.5)
NAMED = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NAMED


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackSshd]:
    """A server of the test's own, to be mistreated."""
    server = LoopbackSshd(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def transport(server: LoopbackSshd) -> Iterator[ShellTransport]:
    transport = ssh_transport(server.entry(), patience=PATIENCE)
    yield transport
    transport.close()


def test_a_server_killed_in_mid_stream_is_a_lost_device_and_its_program_ends(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="ended the connection"):
        transport.stream(python(NAMED, str(note)), lambda _line: server.kill(), timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))
    with pytest.raises(DeviceLost):
        transport.exists("/")


def test_a_new_transport_serves_after_the_old_one_was_lost(server: LoopbackSshd, transport: ShellTransport) -> None:
    server.kill()
    with pytest.raises(DeviceLost):
        transport.exists("/")
    with pytest.raises(DeviceLost, match=r"can't be reached.*Connection refused"):
        ssh_transport(server.entry())
    server.start()
    again = ssh_transport(server.entry())
    assert again.exists("/")
    again.close()


def test_a_stopped_server_is_a_lost_device_long_before_the_deadline(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path
) -> None:
    """Its system still acknowledges every packet, so only a missing answer tells."""
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="did not answer"):
        transport.stream(
            python(NAMED, str(note)), lambda _line: server.signal_connections(signal.SIGSTOP), timeout_s=3600
        )
    server.kill()
    wait_until(lambda: not is_running(int(note.read_text())))


@pytest.mark.parametrize("call", ["run", "exists", "read_texts", "write"])
def test_a_stopped_server_is_a_lost_device_within_the_deadline_of_any_call(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path, call: str
) -> None:
    server.signal_connections(signal.SIGSTOP)
    calls = {
        "run": lambda: transport.run(["true"], timeout_s=3),
        "exists": lambda: transport.exists("/", timeout_s=3),
        "read_texts": lambda: transport.read_texts(["/proc/version"], timeout_s=3),
        "write": lambda: transport.write(str(tmp_path / "file"), b"x", timeout_s=3),
    }
    with pytest.raises(DeviceLost):
        calls[call]()


def test_a_server_that_stops_in_the_middle_of_a_push_is_a_lost_device(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path
) -> None:
    with (tmp_path / "source").open("wb") as stream:
        stream.truncate(400 << 20)

    def stop(done: int, _size: int) -> None:
        if done > 20 << 20:
            server.signal_connections(signal.SIGSTOP)

    with pytest.raises(DeviceLost):
        transport.push(tmp_path / "source", str(tmp_path / "copy"), timeout_s=600, on_progress=stop)


def test_a_slow_program_at_a_server_that_answers_runs_to_its_deadline(transport: ShellTransport) -> None:
    """It says nothing for longer than a peer may stay silent, and is no lost device."""
    with pytest.raises(TransportTimeout, match="did not end within 4 s"):
        transport.run(["sleep", "600"], timeout_s=4)
    assert transport.run(["sleep", "2"], timeout_s=60).rc == 0


def test_a_peer_that_takes_the_connection_and_says_nothing_is_lost_within_the_connect_timeout(
    server: LoopbackSshd,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = server.entry(port=silent.getsockname()[1], connect_timeout_s=1)
        with pytest.raises(DeviceLost, match="did not complete the SSH handshake within 1 s"):
            ssh_transport(entry)


def test_a_shell_that_is_killed_is_no_end_of_the_program(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path
) -> None:
    """Neither exit code nor end marker came: whatever the channel says, it is a loss."""
    note = tmp_path / "pid"

    def kill_shell(_line: str) -> None:
        psutil.Process(int(note.read_text())).parent().kill()  # type: ignore[union-attr]

    with pytest.raises(DeviceLost, match="without its end marker"):
        transport.stream(python(NAMED, str(note)), kill_shell, timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_what_was_left_running_is_ended_by_the_next_connection(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path
) -> None:
    """Shell and watcher are dead too, as after the device's memory ran out."""
    entry, note = server.entry(), tmp_path / "pid"
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
from devices.entry import DeviceEntry
from devices.shell.conversation import Patience
from devices.ssh import ssh_transport
transport = ssh_transport(DeviceEntry.model_validate_json(sys.argv[1]), patience=Patience(grace_s=0.5))
transport.stream(sys.argv[2:], lambda line: print(line, flush=True), timeout_s=600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_program_ends_with_the_orchestrator(server: LoopbackSshd, tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    inner = python(STUBBORN, str(note))
    command = [sys.executable, "-c", ORCHESTRATOR, server.entry().model_dump_json(), *inner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == "up\n"
        orchestrator.send_signal(number)
        assert orchestrator.wait(timeout=30) != 0
    wait_until(lambda: not is_running(int(note.read_text())))
    wait_until(lambda: not server.connections())


def test_the_end_of_a_connection_leaves_nothing(server: LoopbackSshd) -> None:
    before = threading.active_count()
    transport = ssh_transport(server.entry(), patience=PATIENCE)
    assert transport.run(["true"], timeout_s=20).rc == 0
    transport.close()
    transport.close()
    wait_until(lambda: not server.connections())
    wait_until(lambda: threading.active_count() <= before)
    with pytest.raises(DeviceLost):
        transport.exists("/")


def test_a_full_disk_is_named_and_leaves_no_file(tmp_path: Path, make_file: MakeFile) -> None:
    """The disk is a limit on the size of files, which the system refuses in the same place."""
    server = LoopbackSshd(tmp_path / "server")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.getsignal(signal.SIGXFSZ)
    assert ignored is signal.SIG_IGN  # so that it is an error there and no signal
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        server.start(restore_signals=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    try:
        transport = ssh_transport(server.entry(), patience=PATIENCE)
        file = make_file("large", os.urandom(3 << 20))
        with pytest.raises(FileError) as caught:
            transport.push(file.source, str(tmp_path / "copy"), timeout_s=60)
        assert caught.value.cause is FileCause.FULL
        with pytest.raises(DeployError, match="the disk is full"):
            deploy(transport, [file], str(tmp_path / "artifacts"))
        assert list((tmp_path / "artifacts").iterdir()) == []
        transport.close()
    finally:
        server.kill()


def test_a_push_that_broke_off_goes_on_over_the_next_connection(
    server: LoopbackSshd, transport: ShellTransport, tmp_path: Path, make_file: MakeFile
) -> None:
    file = make_file("large", os.urandom(48 << 20))
    folder = tmp_path / "two words" / "artifacts"

    def cut(_name: str, done: int, _size: int) -> None:
        if done > 24 << 20:
            server.kill()

    with pytest.raises(DeviceLost):
        deploy(transport, [file], str(folder), on_progress=cut)
    (part,) = folder.iterdir()
    wait_until(lambda: part.stat().st_size == _settled(part))
    server.start()
    again = ssh_transport(server.entry(), patience=PATIENCE)
    seen: list[int] = []
    deploy(again, [file], str(folder), on_progress=lambda _name, done, _size: seen.append(done))
    again.close()
    assert seen[0] > 4 << 20
    assert (folder / file.name).read_bytes() == file.source.read_bytes()


def _settled(path: Path) -> int:
    size = path.stat().st_size
    time.sleep(0.2)
    return size


def test_a_missing_tool_is_named_with_what_to_install(transport: ShellTransport) -> None:
    with pytest.raises(CommandError, match="the device has no 'frobnicate'"):
        transport._ask("look at", "/", "frobnicate --all", timeout_s=20)


def test_what_a_login_profile_prints_is_no_output(server: LoopbackSshd) -> None:
    (server.folder / ".bashrc").write_text("echo welcome; echo $'\\x1e' warning >&2; export LC_ALL=xx\n")
    transport = ssh_transport(server.entry(), patience=PATIENCE)
    result = transport.run(["sh", "-c", "echo out; echo err >&2"], timeout_s=20)
    transport.close()
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_the_pid_file_names_a_running_program_in_words_that_the_host_reads(
    transport: ShellTransport, tmp_path: Path
) -> None:
    path, read = tmp_path / "it's a\n'pid' file", tmp_path / "read"
    seen: list[dict[str, object]] = []

    def on_line(line: str) -> None:
        seen.append(json.loads(path.read_text()) | {"said": int(line)})
        read.touch()

    lasting = (
        "import os, sys, time; print(os.getpid(), flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(.02)"
    )
    transport.stream(python(lasting, str(read)), on_line, timeout_s=60, pid_file=str(path))
    assert seen[0]["pid"] == seen[0]["said"]
    assert seen[0]["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not path.exists()
