"""This host's adb server, which has the connections to all devices; it is started if necessary.

It is the server that adb itself would use: ANDROID_ADB_SERVER_HOST and ANDROID_ADB_SERVER_PORT, or port 5037 of
loopback.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbutils
from adbutils.errors import AdbConnectionError

from devices.errors import AccessRefused, DeviceLost
from foundation.text import printable

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORT = 5037
_PROBE_TIMEOUT_S = 3.0
_START_TIMEOUT_S = 20.0
_starting = threading.Lock()


class ServiceRefused(DeviceLost):
    """The server refused, or its answer was incomplete."""

    def __init__(self, reason: str) -> None:
        self.reason = printable(reason, 120)
        super().__init__(f"the adb server refused ({self.reason}); see `adb devices`, then run again.")


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices -l`. `transport_id` identifies this connection and changes with a new one."""

    serial: str
    state: str
    transport_id: int | None


_NO_PERMISSIONS = "no permissions"
# adb's states (adb.cpp, to_string(ConnectionState)); without rights on the host, a device's state is a sentence.
_STATES = (
    *("device", "offline", "unauthorized", "authorizing", "connecting", "detached", "bootloader", "recovery"),
    *("rescue", "sideload", "host", "unknown", "disconnect", f"{_NO_PERMISSIONS}.*?"),
)
# The text after the state, such as `usb:1-2 product:lynx model:Pixel_7a transport_id:3`.
_PROPERTIES = r"(?P<properties>(?:\s+[a-z_]+:\S*)*)\s*"
_KNOWN = re.compile(rf"(?P<serial>.+?)\s+(?P<state>{'|'.join(_STATES)}){_PROPERTIES}")
_OTHER = re.compile(rf"(?P<serial>.+?)\s+(?P<state>\S+){_PROPERTIES}")


def listed_devices(listing: str) -> tuple[Listed, ...]:
    """Parses the answer to `host:devices-l`: a line for each device, whose serial is everything before its state.

    A serial may contain blanks: `adb-35121JEHN28132-jr888A (2)._adb-tls-connect._tcp`, `(no serial number)`.
    """
    found: list[Listed] = []
    for line in listing.splitlines():
        match = _KNOWN.fullmatch(line.strip()) or _OTHER.fullmatch(line.strip())
        if match is not None:
            words = (word.partition(":") for word in match["properties"].split())
            transport_id = next((value for key, _, value in words if key == "transport_id"), None)
            state = _NO_PERMISSIONS if match["state"].startswith(_NO_PERMISSIONS) else match["state"]
            found.append(Listed(match["serial"], state, _number(transport_id)))
    return tuple(found)


@dataclass(frozen=True)
class AdbServer:
    """The server at an address. Every question has a deadline; a gone or silent server raises `DeviceLost`."""

    host: str = _LOOPBACK[0]
    port: int = _DEFAULT_PORT

    @classmethod
    def from_environment(cls) -> AdbServer:
        """Returns the server named by adb's variables. Raises `AccessRefused` for an invalid port."""
        port = os.environ.get("ANDROID_ADB_SERVER_PORT") or str(_DEFAULT_PORT)
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise AccessRefused(
                f"ANDROID_ADB_SERVER_PORT is {printable(port, 40)!r}, which is not a port; set 1 to 65535 or unset it."
            )
        return cls(os.environ.get("ANDROID_ADB_SERVER_HOST") or _LOOPBACK[0], int(port))

    @property
    def label(self) -> str:
        """For messages."""
        return f"the adb server at {printable(self.host, 120)}:{self.port}"

    def running(self) -> bool:
        """Returns whether something listens there."""
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), _PROBE_TIMEOUT_S):
            return True
        return False

    def ensure(self) -> None:
        """Starts the server unless it is running, which takes some seconds.

        Raises `AccessRefused` if it can't be started.
        """
        with _starting:
            if self.running():
                return
            if self.host not in _LOOPBACK:
                raise DeviceLost(f"{self.label} can't be reached; start it there with `adb -a nodaemon server start`.")
            self._start()

    def _start(self) -> None:
        program = adb_program()
        # In its own session: Ctrl-C at the terminal is for the suite, and other programs use this server too.
        try:
            result = subprocess.run(
                [program, "-P", str(self.port), "start-server"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_START_TIMEOUT_S,
                start_new_session=True,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AccessRefused(f"{self.label} can't be started with {program} ({error}); start it by hand.") from error
        if result.returncode or not self.running():
            reason = printable(result.stderr.decode("utf-8", "replace"), 200) or f"exit code {result.returncode}"
            raise AccessRefused(f"{self.label} can't be started with {program} ({reason}); start it by hand.")

    def devices(self, *, timeout_s: float) -> tuple[Listed, ...]:
        """Returns the attached devices, in whatever state."""
        # The library's own parser splits a line at blanks, which a serial may contain too.
        with self._answering(timeout_s), self._client(timeout_s).make_connection(timeout=timeout_s) as transport:
            transport.send_command("host:devices-l")
            transport.check_okay()
            return listed_devices(transport.read_string_block())

    def connect(self, address: str, *, timeout_s: float) -> str:
        """Makes the server connect to a network device; returns its message, which may report a failure."""
        with self._answering(timeout_s):
            try:
                return printable(self._client(timeout_s).connect(address, timeout=timeout_s), 200)
            except adbutils.AdbTimeout:
                return f"no answer within {timeout_s:.3g} s"

    def disconnect(self, address: str, *, timeout_s: float) -> None:
        """Makes the server forget a network device; an unknown one isn't an error."""
        with self._answering(timeout_s):
            self._client(timeout_s).disconnect(address)

    def open(self, transport_id: int, service: str, *, timeout_s: float) -> socket.socket:
        """Opens a connection to a service of a device, which the device has accepted.

        Raises `ServiceRefused` with the reason, and `TimeoutError` if the device doesn't answer.
        """
        with self._answering(timeout_s):
            transport = self._client(timeout_s).device(transport_id=transport_id).open_transport(timeout=timeout_s)
        try:
            self._require(transport, service)
        except BaseException:
            transport.conn.close()
            raise
        connection: socket.socket = transport.conn
        return connection

    def features(self, transport_id: int, *, timeout_s: float) -> frozenset[str]:
        """Returns the features of the device's adb. Raises `ServiceRefused`."""
        with self._answering(timeout_s):
            device = self._client(timeout_s).device(transport_id=transport_id)
            with device.open_transport("features", timeout=timeout_s) as transport:
                return frozenset(transport.read_string_block().split(","))

    def _require(self, transport: Any, service: str) -> None:
        try:
            transport.send_command(service)
            transport.check_okay()
        except (adbutils.AdbTimeout, TimeoutError) as error:
            raise TimeoutError from error
        except (adbutils.AdbError, OSError, EOFError, ValueError) as error:
            raise ServiceRefused(str(error)) from error

    def _client(self, timeout_s: float) -> Any:
        # The library would start a server by itself, even during a session, and mix its output with ours.
        if not self.running():
            raise DeviceLost(f"{self.label} is gone; run again to start one.")
        return adbutils.AdbClient(self.host, self.port, socket_timeout=timeout_s)

    @contextlib.contextmanager
    def _answering(self, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except (adbutils.AdbTimeout, TimeoutError) as error:
            raise DeviceLost(
                f"{self.label} did not answer within {timeout_s:.3g} s; restart it with `adb kill-server`."
            ) from error
        except AdbConnectionError as error:
            raise DeviceLost(f"{self.label} is gone ({printable(str(error), 120)}); run again.") from error
        except adbutils.AdbError as error:
            raise ServiceRefused(str(error)) from error
        except (OSError, EOFError, ValueError) as error:
            raise DeviceLost(
                f"{self.label} ended the connection or is not an adb server ({printable(str(error), 120)}); run again."
            ) from error


def adb_program() -> str:
    """Returns the adb that ADBUTILS_ADB_PATH names, the one bundled with adbutils, or the one on PATH, in this order.

    Raises `AccessRefused` if there is none.
    """
    bundled = Path(str(importlib.resources.files("adbutils.binaries"))) / "adb"
    if "ADBUTILS_ADB_PATH" not in os.environ and os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(adbutils.adb_path())
    except adbutils.AdbError as error:
        raise AccessRefused("there is no adb program for this host; install Android's platform-tools.") from error


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() else None
