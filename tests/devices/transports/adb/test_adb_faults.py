"""What goes wrong over adb alone: the server between host and device, and the cable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.errors import DeviceLost, TransportTimeout
from devices.transports.shell.transport import ShellTransport
from tests.support.devices.loopback_adbd import LoopbackAdbd
from tests.support.devices.loopback_daemons import transport_to
from tests.support.devices.real_processes import LASTING, is_running, python, wait_until

pytestmark = pytest.mark.twins


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackAdbd]:
    with LoopbackAdbd(tmp_path_factory.mktemp("adbd")) as daemon:
        yield daemon


@pytest.fixture
def phone(own: LoopbackAdbd, monkeypatch: pytest.MonkeyPatch) -> LoopbackAdbd:
    """A daemon for this module alone, running whatever the previous test did to it."""
    own.revive()
    for name, value in own.environ.items():
        monkeypatch.setenv(name, value)
    return own


@pytest.fixture
def transport(phone: LoopbackAdbd) -> Iterator[ShellTransport]:
    transport = transport_to(phone.entry())
    yield transport
    transport.close()


def test_a_server_killed_in_mid_stream_is_a_lost_device_and_its_program_ends(
    phone: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="adb ended the connection"):
        transport.stream(python(LASTING, str(note)), lambda _line: phone.kill_server(), timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_killed_server_is_started_by_the_next_connection_and_not_by_a_call(
    phone: LoopbackAdbd, transport: ShellTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where a server keeps its key
    phone.kill_server()
    with pytest.raises(DeviceLost, match=r"the adb server at .* is gone"):
        transport.exists("/")
    assert not phone.server.running()
    assert transport_to(phone.entry()).exists("/")


def test_a_stopped_server_is_a_lost_device_long_before_the_deadline(
    phone: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note, server = tmp_path / "pid", phone.process_on(phone.server.port)
    try:
        with pytest.raises(DeviceLost, match=r"the adb server at .* did not answer within .* `adb kill-server`"):
            transport.stream(python(LASTING, str(note)), lambda _line: server.suspend(), timeout_s=3600)
    finally:
        server.resume()
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_pulled_cable_is_a_lost_device_and_a_plugged_one_serves_again(
    phone: LoopbackAdbd, transport: ShellTransport, tmp_path: Path
) -> None:
    note, pid_file = tmp_path / "pid", tmp_path / "runner.pid"
    with pytest.raises(DeviceLost, match="did not answer"):
        transport.stream(
            python(LASTING, str(note)), lambda _line: phone.link.unplug(), timeout_s=3600, pid_file=str(pid_file)
        )
    pid = int(note.read_text())
    assert is_running(pid)  # the device knows nothing of it
    phone.link.plug()
    transport_to(phone.entry()).end_left_over(str(pid_file))
    wait_until(lambda: not is_running(pid))


def test_calls_leave_no_connection_to_the_server(phone: LoopbackAdbd, transport: ShellTransport) -> None:
    for _ in range(3):
        assert transport.run(["true"], timeout_s=20).end.rc == 0
    with pytest.raises(TransportTimeout):
        transport.run(["sleep", "600"], timeout_s=0.5)
    wait_until(lambda: phone.connections() == 0)
