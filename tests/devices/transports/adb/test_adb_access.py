"""Which device an entry means over adb, and the error for one that doesn't let us in."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devices.access.enrollment import await_authorisation
from devices.errors import AccessRefused, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.adb.attachment import Unauthorised, refusal, target_of, unknown
from devices.transports.adb.link import adb_transport
from devices.transports.adb.server import AdbServer, Listed, adb_program
from tests.support.devices.hesitant_phone import HesitantPhone
from tests.support.devices.loopback_adbd import LoopbackAdbd
from tests.support.devices.real_processes import wait_until
from tests.support.twins.twin_ssh import free_port


@pytest.fixture
def phone() -> Iterator[HesitantPhone]:
    phone = HesitantPhone()
    yield phone
    phone.close()


def entry_of(address: str, **values: object) -> DeviceEntry:
    host, _, port = address.rpartition(":")
    document = {
        "name": "phone",
        "kind": "android",
        "transport": "adb",
        "workdir": "/w",
        "host": host,
        "port": int(port),
    }
    return DeviceEntry.model_validate(document | values)


@pytest.mark.parametrize(
    ("values", "serial", "in_network"),
    [
        ({"serial": "R5CT10ABCDE"}, "R5CT10ABCDE", False),
        ({"serial": "192.168.1.7:5555"}, "192.168.1.7:5555", True),
        ({"host": "phone.lan"}, "phone.lan:5555", True),
        ({"host": "192.168.1.7", "port": 40123}, "192.168.1.7:40123", True),
        ({"host": "fe80::1"}, "[fe80::1]:5555", True),
        ({"host": "phone.lan", "serial": "R5CT10ABCDE"}, "phone.lan:5555", True),
    ],
)
def test_an_entry_means_a_serial_or_an_address(values: dict[str, object], serial: str, in_network: bool) -> None:
    entry = DeviceEntry.model_validate(
        {"name": "phone", "kind": "android", "transport": "adb", "workdir": "/w"} | values
    )
    target = target_of(entry)
    assert (target.serial, target.in_network) == (serial, in_network)


def test_a_device_in_the_network_is_connected_and_then_found_again(adbd: LoopbackAdbd) -> None:
    for serial in ({}, {"host": None, "port": None, "serial": adbd.address}):
        transport = adb_transport(adbd.entry(**serial), server=adbd.server)
        assert transport.run(["sh", "-c", "exit 7"], timeout_s=20).end.rc == 7
        transport.close()
    assert adbd.state() == "device"


def test_an_unknown_serial_is_reported_with_the_attached_ones(adbd: LoopbackAdbd) -> None:
    adb_transport(adbd.entry(), server=adbd.server).close()
    with pytest.raises(DeviceLost, match=rf"'phone' \(R5CT\) is not attached.*{adbd.address} \(device\).*`serial`"):
        adb_transport(adbd.entry(host=None, port=None, serial="R5CT"), server=adbd.server)


def test_many_attached_devices_are_not_all_listed() -> None:
    attached = [Listed(f"S{number}", "device", number) for number in range(11)]
    assert "adb has 11: S0 (device), " in str(unknown("device 'x' (S)", attached))
    assert "S7 (device) and 3 more" in str(unknown("device 'x' (S)", attached))
    assert "adb has no device at all" in str(unknown("device 'x' (S)", []))


def test_an_address_where_nothing_listens_is_named_with_what_to_do(adbd: LoopbackAdbd) -> None:
    with pytest.raises(DeviceLost, match=r"can't be reached over the network \(.*\); check.*wireless debugging"):
        adb_transport(entry_of(f"127.0.0.1:{free_port()}"), server=adbd.server)


def test_a_phone_that_has_not_authorised_this_computer_says_what_to_do_on_it(
    adbd: LoopbackAdbd, phone: HesitantPhone
) -> None:
    for _ in range(2):  # the second time adb knows it already, as unauthorized
        with pytest.raises(Unauthorised, match="has not authorised this computer; unlock it and answer"):
            adb_transport(entry_of(phone.address), server=adbd.server)
    assert phone.question.wait(60)  # adb knows the state a moment before the phone gets the question


def test_enrolling_waits_for_the_owner_of_the_phone(adbd: LoopbackAdbd, phone: HesitantPhone) -> None:
    notes: list[str] = []

    def say(sentence: str) -> None:
        notes.append(sentence)
        phone.confirm()

    await_authorisation(entry_of(phone.address), say, wait_s=30, server=adbd.server)
    assert len(notes) == 1
    assert "Allow USB debugging?" in notes[0]


def test_enrolling_gives_up_on_an_owner_who_does_not_answer(adbd: LoopbackAdbd, phone: HesitantPhone) -> None:
    notes: list[str] = []
    for wait_s, sentences in ((0.0, 0), (0.5, 1)):
        with pytest.raises(Unauthorised):
            await_authorisation(entry_of(phone.address), notes.append, wait_s=wait_s, server=adbd.server)
        assert len(notes) == sentences


def test_an_old_phone_without_exit_codes_is_refused(adbd: LoopbackAdbd) -> None:
    phone = HesitantPhone(features="cmd,stat_v2")
    phone.confirm()
    with pytest.raises(AccessRefused, match="Android 7 or newer"):
        adb_transport(entry_of(phone.address), server=adbd.server)
    phone.close()


def test_a_device_that_accepts_and_stays_silent_is_lost_within_the_connect_timeout(
    adbd: LoopbackAdbd,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = entry_of(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=5)
        with pytest.raises(DeviceLost, match=r"offline|connecting|can't be reached"):
            adb_transport(entry, server=adbd.server)


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("unauthorized", AccessRefused, "Allow USB debugging"),
        ("no", AccessRefused, "udev rules"),
        ("no permissions", AccessRefused, "udev rules"),
        ("recovery", AccessRefused, "start Android"),
        ("bootloader", AccessRefused, "start Android"),
        ("offline", DeviceLost, "unplug it"),
        ("authorizing", DeviceLost, "unlock it"),
        ("frobnicating", DeviceLost, "'frobnicating', which is not ready"),
    ],
)
def test_each_unusable_state_has_a_sentence_with_what_to_do(state: str, kind: type[Exception], words: str) -> None:
    error = refusal("device 'phone' (R5CT)", state)
    assert isinstance(error, kind)
    assert str(error).startswith("device 'phone' (R5CT) ")
    assert words in str(error)
    assert str(error).endswith(".")


def test_a_missing_server_is_started_on_the_port_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adbd: LoopbackAdbd, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    started: list[psutil.Process] = []
    try:
        transport = adb_transport(adbd.entry())
        assert transport.exists("/")
        transport.close()
        started.append(LoopbackAdbd.process_on(port))
        assert Path(started[0].exe()) == Path(adb_program()).resolve()
        assert capfd.readouterr() == ("", "")
        assert adb_transport(adbd.entry()).exists("/")
        assert LoopbackAdbd.process_on(port) == started[0]
    finally:
        for process in started:
            process.kill()
        AdbServer(port=adbd.server.port).disconnect(adbd.address, timeout_s=10)


@pytest.mark.parametrize("port", ["0", "65536", "adb", "-1", "٣"])
def test_an_invalid_port_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    with pytest.raises(AccessRefused, match=r"ANDROID_ADB_SERVER_PORT is .*, which is not a port"):
        AdbServer.from_environment()


def test_the_variables_of_adb_name_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANDROID_ADB_SERVER_HOST", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert AdbServer.from_environment() == AdbServer("127.0.0.1", 5037)
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", "lab")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "6000")
    assert AdbServer.from_environment() == AdbServer("lab", 6000)


def test_something_else_on_the_servers_port_is_not_taken_for_an_adb_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def chat() -> None:
            with contextlib.suppress(OSError):  # the listener closes
                while True:
                    stream, _ = listener.accept()
                    stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    stream.close()

        threading.Thread(target=chat, daemon=True).start()
        with pytest.raises(DeviceLost, match=r"refused|not an adb server"):
            adb_transport(entry_of("127.0.0.1:1"), server=AdbServer(port=listener.getsockname()[1]))


def test_a_silent_server_is_a_lost_device_within_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = AdbServer(port=silent.getsockname()[1])
        with pytest.raises(DeviceLost, match=r"did not answer within .* `adb kill-server`"):
            adb_transport(entry_of("127.0.0.1:1", connect_timeout_s=1), server=server)


def test_the_device_at_an_address_must_have_the_serial_number_of_the_entry(adbd: LoopbackAdbd) -> None:
    tool = adbd.folder / "bin" / "getprop"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text('#!/bin/sh\n[ "$1" = ro.serialno ] && echo R5CT10ABCDE\n')
    tool.chmod(0o755)
    transport = adb_transport(adbd.entry(serial="R5CT10ABCDE"), server=adbd.server)
    assert transport.exists("/")
    with pytest.raises(AccessRefused, match="reports the serial number 'R5CT10ABCDE', but the inventory has 'R5'"):
        adb_transport(adbd.entry(serial="R5"), server=adbd.server)
    tool.unlink()
    with pytest.raises(AccessRefused, match="no getprop"):
        adb_transport(adbd.entry(serial="R5"), server=adbd.server)


@pytest.mark.twins
def test_a_device_that_adb_remembers_as_offline_is_reconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    disconnect = AdbServer.disconnect
    with LoopbackAdbd(tmp_path / "adbd") as daemon:

        def noted(server: AdbServer, address: str, *, timeout_s: float) -> None:
            disconnect(server, address, timeout_s=timeout_s)
            forgotten.append(address)
            daemon.start()  # not before, as adb tries on its own now and then

        monkeypatch.setattr(AdbServer, "disconnect", noted)
        adb_transport(daemon.entry(), server=daemon.server).close()
        assert forgotten == []
        daemon.kill()
        wait_until(lambda: daemon.state() == "offline")
        assert adb_transport(daemon.entry(), server=daemon.server).exists("/")
        assert forgotten == [daemon.address]


@pytest.mark.twins
def test_a_device_that_adb_wrongly_remembers_is_checked_first(tmp_path: Path) -> None:
    with LoopbackAdbd(tmp_path / "adbd") as daemon:
        adb_transport(daemon.entry(), server=daemon.server).close()
        daemon.stop_moving()
        assert daemon.state() == "device"
        with pytest.raises(DeviceLost):
            adb_transport(daemon.entry(connect_timeout_s=2), server=daemon.server)
        daemon.move_again()
        assert adb_transport(daemon.entry(), server=daemon.server).exists("/")
