"""adb as a link to a device's shell, using version 2 of adb's shell protocol.

A packet of that protocol is one byte for the stream, four for the length (little endian), and the content.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

from devices.errors import AccessRefused, CommandError, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.adb.attachment import Attachment, attach, gone
from devices.transports.adb.server import AdbServer, ServiceRefused
from devices.transports.shell.conversation import Patience
from devices.transports.shell.link import Received
from devices.transports.shell.transport import ShellTransport
from foundation.text import printable

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")


def packet(stream: int, content: bytes = b"") -> bytes:
    """Encodes a packet for the connection."""
    return _HEADER.pack(stream, len(content)) + content


class Unpacker:
    """Decodes the bytes of a connection as they arrive. `exited`: the shell has ended, and nothing follows."""

    def __init__(self) -> None:
        self.exited = False
        self._header = b""
        self._stream, self._rest_bytes = STDOUT, 0

    def feed(self, chunk: bytes) -> Received:
        """Returns the chunk's share of both outputs; a long packet is passed on in parts."""
        outputs: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        at = 0
        while at < len(chunk):
            if self._rest_bytes:
                part = chunk[at : at + self._rest_bytes]
                outputs.get(self._stream, []).append(part)
                self._rest_bytes -= len(part)
                at += len(part)
                continue
            missing = _HEADER.size - len(self._header)
            self._header += chunk[at : at + missing]
            at += missing
            if len(self._header) == _HEADER.size:
                self._stream, self._rest_bytes = _HEADER.unpack(self._header)
                self._header = b""
                self.exited = self.exited or self._stream == EXIT
        return Received(b"".join(outputs[STDOUT]), b"".join(outputs[STDERR]))


_PIECE_BYTES = 256 << 10
_READ_BYTES = 256 << 10
# No terminal, so that both outputs stay separate; everything that needs quoting goes to the standard input of sh.
_SHELL = "shell,v2,raw:exec sh"


def adb_transport(
    entry: DeviceEntry, *, patience: Patience | None = None, server: AdbServer | None = None
) -> ShellTransport:
    """Returns the transport to a device, through `server` or else the one named by adb's variables.

    With both `host` and `serial` in the entry, the device at that address must have that serial number. Raises
    `AccessRefused` if somebody has to act on the phone, the host or the inventory, `DeviceLost` otherwise.
    """
    attachment = attach(entry, server)
    transport = ShellTransport(AdbLink(attachment), patience=patience)
    if entry.host is not None and entry.serial is not None:
        _require_serial(transport, attachment.target.label, entry.serial, entry.connect_timeout_s)
    return transport


def _require_serial(transport: ShellTransport, label: str, serial: str, timeout_s: float) -> None:
    """Checks the serial number: addresses change, and another phone must not be measured instead."""
    try:
        answer = transport.run(["getprop", "ro.serialno"], timeout_s=timeout_s).stdout.strip()
    except CommandError as error:
        raise AccessRefused(
            f"{label} has no getprop to report its serial number; leave out `serial` if `host` is given."
        ) from error
    if answer != serial:
        raise AccessRefused(
            f"{label} reports the serial number {printable(answer, 60)!r}, but the inventory has "
            f"{printable(serial, 60)!r}; correct `host` (addresses change) or `serial`."
        )


class AdbLink:
    """A device on which shells are started. After a reconnection, this link counts the device as lost."""

    name = "adb"

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._label = attachment.target.label
        self._closed = False

    def open(self, *, timeout_s: float) -> AdbChannel:
        if self._closed:
            raise DeviceLost(f"the connection to {self._label} was given up; connect again.")
        try:
            connection = self._attachment.server.open(self._attachment.transport_id, _SHELL, timeout_s=timeout_s)
        except TimeoutError as error:
            self.close()
            raise DeviceLost(
                f"{self._label} did not start a shell within {timeout_s:.3g} s; check that it is on and connected, "
                "then run again."
            ) from error
        except ServiceRefused as error:
            self.close()
            raise gone(self._label, error.reason) from error
        return AdbChannel(connection, self._label)

    def require_answer(self, *, timeout_s: float) -> None:
        try:
            self._attachment.require_answer(timeout_s)
        except DeviceLost:
            self.close()
            raise

    def close(self) -> None:
        self._closed = True


class AdbChannel:
    """A shell over adb. Nothing here waits longer than its timeout: the socket never blocks.

    One thread may send, or end the input, while another receives.
    """

    def __init__(self, connection: socket.socket, label: str) -> None:
        self._connection, self._label = connection, label
        self._unpacker = Unpacker()
        # The part of the last packet that the socket has not accepted yet.
        self._unsent = memoryview(b"")
        self._ended = False
        self._sending = threading.RLock()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def send(self, data: bytes, *, timeout_s: float) -> int:
        with self._sending:
            if not data or not self._flushed(timeout_s):
                return 0
            piece = data[:_PIECE_BYTES]
            self._unsent = memoryview(packet(STDIN, piece))
            self._flush()
            return len(piece)

    def finish(self) -> None:
        closing = packet(CLOSE_STDIN)
        with self._sending:
            self._unsent = memoryview(bytes(self._unsent) + closing)
            self._flush()

    def receive(self, *, timeout_s: float) -> Received:
        if self._unpacker.exited:
            return Received(ended=True)
        self._wait(timeout_s)
        self._flush()
        try:
            chunk = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return Received()
        except OSError:
            chunk = b""
        if not chunk:
            self._ended = True
            raise DeviceLost(
                f"adb ended the connection to {self._label}; check that it is on and connected (`adb devices`), then "
                "run again."
            )
        received = self._unpacker.feed(chunk)
        return received if received.out or received.err else Received(ended=self._unpacker.exited)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.close()

    def _flushed(self, timeout_s: float) -> bool:
        """Returns whether all of the last packet has been sent, after waiting at most `timeout_s`."""
        self._flush()
        if self._unsent and not self._ended:
            self._wait(timeout_s)
            self._flush()
        return not self._unsent and not self._ended

    def _flush(self) -> None:
        with self._sending:
            try:
                while self._unsent:
                    self._unsent = self._unsent[self._connection.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                # Closed by the peer: what it sent before can still be read.
                self._ended = True
                self._unsent = memoryview(b"")

    def _wait(self, timeout_s: float) -> None:
        """Waits until something has arrived, or there is room for unsent data."""
        self._poll.modify(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        self._poll.poll(max(0.0, timeout_s) * 1000)
