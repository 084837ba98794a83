"""SSH and adb when things go wrong: the loss is named in time, the program there ends, and a new link serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.errors import DeviceLost, TransportTimeout
from devices.transports.shell.transport import ShellTransport
from tests.support.devices.loopback_daemons import LoopbackDaemon, transport_to
from tests.support.devices.real_processes import LASTING, is_running, python, wait_until

WORDS = {
    "ssh": {
        "ended": "ended the connection",
        "gone": r"device 'board'",
        "refused": r"can't be reached.*Connection refused",
    },
    "adb": {
        "ended": "adb ended the connection to device 'phone'",
        "gone": r"gone from adb|did not start a shell",
        "refused": "can't be reached over the network",
    },
}


def words(daemon: LoopbackDaemon, what: str) -> str:
    """Returns the link's words for what happened."""
    return WORDS[daemon.entry().transport][what]


def test_a_daemon_killed_in_mid_stream_is_a_lost_device_and_its_program_ends(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match=words(daemon, "ended")):
        link_transport.stream(python(LASTING, str(note)), lambda _line: daemon.kill(), timeout_s=60)
    wait_until(lambda: not is_running(int(note.read_text())))
    with pytest.raises(DeviceLost):
        link_transport.exists("/")


def test_a_new_transport_serves_after_the_old_one_was_lost(
    daemon: LoopbackDaemon, link_transport: ShellTransport
) -> None:
    daemon.kill()
    with pytest.raises(DeviceLost, match=words(daemon, "gone")):
        link_transport.exists("/")
    with pytest.raises(DeviceLost, match=words(daemon, "refused")):
        transport_to(daemon.entry(connect_timeout_s=2))
    daemon.start()
    again = transport_to(daemon.entry())
    assert again.exists("/")
    again.close()
    with pytest.raises(DeviceLost, match=r"given up|lost|gone|ended"):
        link_transport.exists("/")


def test_a_stopped_daemon_is_a_lost_device_long_before_the_deadline(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    """Its system still acknowledges every packet, so only a missing answer tells."""
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost, match="did not answer"):
        link_transport.stream(python(LASTING, str(note)), lambda _line: daemon.stop_moving(), timeout_s=3600)
    daemon.kill()
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_program_of_a_lost_connection_ends_when_the_daemon_moves_again(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(DeviceLost):
        link_transport.stream(python(LASTING, str(note)), lambda _line: daemon.stop_moving(), timeout_s=3600)
    daemon.move_again()
    wait_until(lambda: not is_running(int(note.read_text())))


@pytest.mark.parametrize("call", ["run", "exists", "read_texts", "write"])
def test_a_stopped_daemon_is_a_lost_device_within_the_deadline_of_any_call(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path, call: str
) -> None:
    daemon.stop_moving()
    calls = {
        "run": lambda: link_transport.run(["true"], timeout_s=3),
        "exists": lambda: link_transport.exists("/", timeout_s=3),
        "read_texts": lambda: link_transport.read_texts(["/proc/version"], timeout_s=3),
        "write": lambda: link_transport.write(str(tmp_path / "file"), b"x", timeout_s=3),
    }
    with pytest.raises(DeviceLost):
        calls[call]()


def test_a_daemon_that_stops_in_the_middle_of_a_push_is_a_lost_device(
    daemon: LoopbackDaemon, link_transport: ShellTransport, tmp_path: Path
) -> None:
    with (tmp_path / "source").open("wb") as stream:
        stream.truncate(400 << 20)

    def stop(done: int, _size: int) -> None:
        if done > 20 << 20:
            daemon.stop_moving()

    with pytest.raises(DeviceLost, match="did not answer"):
        link_transport.push(tmp_path / "source", str(tmp_path / "copy"), timeout_s=600, on_progress=stop)


def test_a_slow_program_at_a_daemon_that_answers_runs_to_its_deadline(link_transport: ShellTransport) -> None:
    """It prints nothing for longer than a peer may stay silent, and is still no lost device."""
    with pytest.raises(TransportTimeout, match="did not end within 4 s"):
        link_transport.run(["sleep", "600"], timeout_s=4)
    assert link_transport.run(["sleep", "2"], timeout_s=60).end.rc == 0
