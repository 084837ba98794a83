"""Devices are looked at before the export: who can't be reached is said at once, and a run without any device ends."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import Console

from devices.access import connect
from devices.errors import AccessRefused, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.local.transport import LocalTransport
from suite.display import Display
from suite.measuring import reaching
from suite.measuring.reaching import NoneReachable, reach

LOCAL = DeviceEntry.model_validate({"name": "local", "kind": "local", "transport": "local", "workdir": "w"})


def board(name: str, **values: Any) -> DeviceEntry:
    usual = {"kind": "linux", "transport": "ssh", "workdir": "w", "host": "127.0.0.1", "connect_timeout_s": 1}
    return DeviceEntry.model_validate({"name": name, **usual, **values})


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(output: io.StringIO) -> Display:
    return Display(Console(file=output, width=200))


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is taken and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def with_ways(monkeypatch: pytest.MonkeyPatch, **outcomes: Exception | None) -> None:
    """Lets the way to each device end as told."""

    def way(entry: DeviceEntry) -> LocalTransport:
        if (error := outcomes[entry.name]) is not None:
            raise error
        return LocalTransport()

    monkeypatch.setattr(connect, "TRANSPORTS", MappingProxyType({"ssh": way, "local": way}))


def test_one_device_that_cannot_be_reached_ends_the_run_with_its_sentence(dead_port: int, display: Display) -> None:
    with pytest.raises(NoneReachable) as raised:
        reach([board("pi", port=dead_port)], display)
    assert "can't be reached within 1 s: Connection refused; check" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_each_of_several_has_its_sentence(monkeypatch: pytest.MonkeyPatch, display: Display) -> None:
    with_ways(monkeypatch, pi=DeviceLost("pi is off."), nano=AccessRefused("nano refuses."))
    with pytest.raises(NoneReachable) as raised:
        reach([board("pi"), board("nano")], display)
    assert str(raised.value).splitlines()[1:] == ["  pi is off.", "  nano refuses."]


def test_silent_devices_are_waited_for_side_by_side_and_named_meanwhile(
    silent_port: int, display: Display, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "_QUIET_S", 0.1)
    with pytest.raises(NoneReachable, match="did not complete the SSH handshake within 1 s"):
        reach([board(name, port=silent_port) for name in ("one", "two", "three")], display)
    assert output.getvalue() == "waiting for one, two, three to answer\n"


def test_with_another_device_the_run_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, display: Display, output: io.StringIO
) -> None:
    with_ways(monkeypatch, pi=DeviceLost("pi is off."), nano=None)
    reach([board("pi"), board("nano")], display)
    assert output.getvalue().splitlines() == [
        "pi: pi is off.",
        "continuing without pi; it is tried again when the programs are ready",
    ]


def test_this_machine_is_always_there(monkeypatch: pytest.MonkeyPatch, display: Display) -> None:
    with_ways(monkeypatch, pi=DeviceLost("pi is off."))
    reach([board("pi"), LOCAL], display)
    reach([LOCAL], display)


def test_a_night_goes_on_to_record_it(monkeypatch: pytest.MonkeyPatch, display: Display, output: io.StringIO) -> None:
    with_ways(monkeypatch, pi=DeviceLost("pi is off."))
    reach([board("pi")], display, required=False)
    assert "pi is off." in output.getvalue()


def test_all_are_looked_at_at_the_same_time(monkeypatch: pytest.MonkeyPatch, display: Display) -> None:
    together = threading.Barrier(2)

    def way(_entry: DeviceEntry) -> LocalTransport:
        together.wait(30)
        return LocalTransport()

    monkeypatch.setattr(connect, "TRANSPORTS", MappingProxyType({"ssh": way}))
    reach([board("pi"), board("nano")], display)


def test_a_fault_of_ours_is_not_taken_for_an_absent_device(monkeypatch: pytest.MonkeyPatch, display: Display) -> None:
    with_ways(monkeypatch, pi=RuntimeError("a mistake of ours"))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        reach([board("pi")], display)
