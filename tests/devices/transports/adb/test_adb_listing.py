"""The lines of `adb devices -l`: a serial is all that precedes the state."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.adb.attachment import attach
from devices.transports.adb.server import AdbServer, Listed, listed_devices

CONFLICT = "adb-35121JEHN28132-jr888A (2)._adb-tls-connect._tcp"


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        (f"{CONFLICT} device product:lynx transport_id:2426", Listed(CONFLICT, "device", 2426)),
        (f"{CONFLICT}\tdevice", Listed(CONFLICT, "device", None)),
        ("R5CT30            device usb:1-2 model:Pixel_7a device:lynx transport_id:1", Listed("R5CT30", "device", 1)),
        ("my device  7  offline transport_id:4", Listed("my device  7", "offline", 4)),
        ("a device device product:x transport_id:4", Listed("a device", "device", 4)),
        ("192.168.0.104:40559     unauthorized transport_id:7", Listed("192.168.0.104:40559", "unauthorized", 7)),
        (
            "(no serial number)     no permissions (missing udev rules? user is in the plugdev group); see "
            "[http://developer.android.com/tools/device.html] usb:1-1 transport_id:3",
            Listed("(no serial number)", "no permissions", 3),
        ),
        ("R5CT30                 frobnicating transport_id:5", Listed("R5CT30", "frobnicating", 5)),
    ],
)  # fmt: skip
def test_a_serial_is_all_that_precedes_the_state(line: str, listed: Listed) -> None:
    assert listed_devices(f"{line}\n\nemulator-5554 device\n") == (listed, Listed("emulator-5554", "device", None))


class PlayedServer:
    """An adb server's side of the protocol: answers each request from a table, then closes the connection."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def server(self) -> AdbServer:
        return AdbServer("127.0.0.1", self.listener.getsockname()[1])

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                with stream, contextlib.suppress(OSError, ValueError):
                    while head := stream.recv(4, socket.MSG_WAITALL):
                        request = stream.recv(int(head, 16), socket.MSG_WAITALL).decode()
                        stream.sendall(self.answers.get(request, b"FAIL0004what"))


def block(text: str) -> bytes:
    return f"OKAY{len(text):04x}{text}".encode()


@pytest.fixture
def played() -> Iterator[PlayedServer]:
    server = PlayedServer(
        {
            "host:devices-l": block(f"{CONFLICT} device product:lynx transport_id:2426\n"),
            "host:transport-id:2426": b"OKAY",
            "sync:": b"OKAY",
            "host-transport-id:2426:features": block("shell_v2,cmd"),
        }
    )
    yield server
    server.listener.close()


def phone(serial: str, **more: float) -> DeviceEntry:
    values = {"name": "phone", "kind": "android", "transport": "adb", "workdir": "/w", "serial": serial}
    return DeviceEntry.model_validate(values | more)


def test_a_phone_whose_serial_holds_a_blank_is_found(played: PlayedServer) -> None:
    assert attach(phone(CONFLICT), played.server).transport_id == 2426


@pytest.mark.parametrize("answer", [b"", b"OK", b"OKAYzzzz", b"OKAY00ff", b"OKAY0004\xff\xfe\xfd\xfc", b"NOPE"])
def test_a_truncated_or_garbled_answer_is_one_sentence(played: PlayedServer, answer: bytes) -> None:
    played.answers["host:devices-l"] = answer
    with pytest.raises(DeviceLost) as lost:
        # A truncated answer is waited for until the end: the server keeps its connection open.
        attach(phone(CONFLICT, connect_timeout_s=0.5), AdbServer(played.server.host, played.server.port))
    assert str(lost.value).endswith(".")
    assert "\n" not in str(lost.value)
