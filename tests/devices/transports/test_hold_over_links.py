"""Two homes with one device behind a real daemon: who holds it, the error for the other, and when a holder loses it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

import devices.access.connect
from devices.access.connect import connect
from devices.errors import DeviceBusy, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.shell.conversation import Patience
from tests.support.devices.loopback_daemons import LoopbackDaemon, transport_to
from tests.support.devices.loopback_sshd import LoopbackSshd
from tests.support.devices.real_processes import LASTING, is_running, kill_if_running, python, wait_until

ORCHESTRATOR = """
import sys
from pathlib import Path
from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
entry = DeviceEntry.model_validate_json(sys.argv[1])
with connect(entry, Path(sys.argv[2])) as device:
    device.transport.mkdir(device.places.workdir)
    try:
        device.launch(sys.argv[3:], lambda line: print(line, flush=True), timeout_s=600)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.fixture
def entry(daemon: LoopbackDaemon, tmp_path: Path) -> DeviceEntry:
    return daemon.entry(workdir=str(tmp_path / "work"))


def answering_within(answer_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long this process waits for the answer of a holder."""
    patience = Patience(answer_s=answer_s, grace_s=0.5)
    ways = MappingProxyType(
        {name: lambda entry: transport_to(entry, patience) for name in ("ssh", "adb")}  # by the entry's own transport
    )
    monkeypatch.setattr(devices.access.connect, "TRANSPORTS", ways)


@contextmanager
def orchestrator(entry: DeviceEntry, home: Path, note: Path) -> Iterator[subprocess.Popen[str]]:
    """Another home's process, in the middle of a session."""
    command = [sys.executable, "-c", ORCHESTRATOR, entry.model_dump_json(), str(home), *python(LASTING, str(note))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def test_another_home_is_refused_with_who_measures_and_touches_nothing(entry: DeviceEntry, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with orchestrator(entry, tmp_path / "one", note) as process:
        before = sorted(path.name for path in Path(entry.workdir).iterdir())
        for _ in range(3):
            with (
                pytest.raises(DeviceBusy, match=rf"in use by process {process.pid} \(-c "),
                connect(entry, tmp_path / "two"),
            ):
                pytest.fail("the device was had twice")
        assert is_running(int(note.read_text()))
        assert sorted(path.name for path in Path(entry.workdir).iterdir()) == before == ["hold", "runner.pid"]
        assert json.loads((Path(entry.workdir) / "runner.pid").read_text())["pid"] == int(note.read_text())


def test_a_killed_holder_does_not_count_for_another_home(entry: DeviceEntry, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with orchestrator(entry, tmp_path / "one", note) as process:
        process.kill()
        with connect(entry, tmp_path / "two") as device:
            assert not is_running(int(note.read_text())) or device.left_over_pid is None
        wait_until(lambda: not is_running(int(note.read_text())))


def test_a_holder_that_does_not_answer_loses_the_device_and_notices(
    entry: DeviceEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its link is dead; stopping it is the same for who asks."""
    answering_within(5.0, monkeypatch)
    note = tmp_path / "pid"
    with orchestrator(entry, tmp_path / "one", note) as process:
        process.send_signal(signal.SIGSTOP)
        with connect(entry, tmp_path / "two") as device:
            assert device.left_over_pid == int(note.read_text())
            assert not is_running(device.left_over_pid)
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("DeviceLost ")
            process.wait(timeout=60)
            assert device.transport.exists(entry.workdir)


def test_the_same_home_holds_the_device_again_at_once_after_a_silent_break(
    daemon: LoopbackDaemon, entry: DeviceEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for an answer for longer than a test may last."""
    answering_within(3600.0, monkeypatch)
    with connect(entry, tmp_path / "one"):
        (record,) = (Path(entry.workdir) / "hold").iterdir()
        shell = int(record.read_text().split()[0])
        # The home's own process has given up, and the device hasn't noticed: its end of the link stands still.
        content = record.read_text()
    record.parent.mkdir(exist_ok=True)
    deaf = (
        "import signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    stand_in = subprocess.Popen(python(deaf), stdout=subprocess.PIPE, text=True)
    try:
        assert stand_in.stdout is not None
        assert stand_in.stdout.readline() == "up\n"
        wait_until(lambda: not is_running(shell))
        ticks = Path(f"/proc/{stand_in.pid}/stat").read_text().rpartition(")")[2].split()[19]
        words = content.split()
        record.write_text(content.replace(f"{words[0]} {words[1]}", f"{stand_in.pid} {ticks}"))
        with connect(entry, tmp_path / "one"):
            wait_until(lambda: stand_in.poll() is not None)
    finally:
        stand_in.kill()
        stand_in.wait(timeout=20)


def test_a_copy_of_the_home_has_to_ask_like_any_other(entry: DeviceEntry, tmp_path: Path) -> None:
    with orchestrator(entry, tmp_path / "one", tmp_path / "pid"):
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / f"{entry.name}.hold").write_bytes((tmp_path / "one" / f"{entry.name}.hold").read_bytes())
        with pytest.raises(DeviceBusy), connect(entry, tmp_path / "copy"):
            pytest.fail("the device was had twice")


def test_two_entries_for_one_device_under_two_addresses_are_reported(entry: DeviceEntry, tmp_path: Path) -> None:
    other = entry.model_copy(update={"name": "again", "connect_timeout_s": 14.0})
    with (
        connect(entry, tmp_path / "one"),
        pytest.raises(DeviceBusy, match="by this same command") as caught,
        connect(other, tmp_path / "two"),
    ):
        pytest.fail("the device was had twice")
    assert f"'{entry.name}'" in str(caught.value)


def test_a_daemon_that_is_killed_takes_the_hold_with_it(
    daemon: LoopbackDaemon, entry: DeviceEntry, tmp_path: Path
) -> None:
    with pytest.raises(DeviceLost), connect(entry, tmp_path / "one") as device:
        daemon.kill()
        daemon.start()
        with connect(entry, tmp_path / "two"):
            pass
        device.transport.exists("/")


def test_a_stopped_link_of_another_home_is_taken_over_and_its_program_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's processes for the first connection stand still, as behind a network that is gone."""
    answering_within(5.0, monkeypatch)
    with LoopbackSshd(tmp_path / "sshd") as server:
        entry, note = server.entry(workdir=str(tmp_path / "work")), tmp_path / "pid"
        with orchestrator(entry, tmp_path / "one", note):
            stopped = server.serving()
            for process in stopped:
                process.suspend()
            with connect(entry, tmp_path / "two") as device:
                assert device.left_over_pid == int(note.read_text())
            for process in stopped:
                process.resume()
        kill_if_running(int(note.read_text()))


def test_a_server_that_allows_one_session_in_a_connection_is_connected_to_twice(tmp_path: Path) -> None:
    with LoopbackSshd(tmp_path / "sshd", "MaxSessions 1") as server:
        entry = server.entry(workdir=str(tmp_path / "work"))
        with connect(entry, tmp_path / "one") as device:
            lines: list[str] = []
            for _ in range(5):
                assert device.transport.exists(entry.workdir)
                device.launch(["echo", "here"], lines.append, timeout_s=60)
            assert lines == ["here"] * 5
            with pytest.raises(DeviceBusy), connect(entry, tmp_path / "two"):
                pytest.fail("the device was had twice")
        wait_until(lambda: not server.connections())
