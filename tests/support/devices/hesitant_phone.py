"""A phone that asks its owner before it lets a computer in: adb's protocol on the daemon's side, up to that point.

It shows a real adb server states that Debian's adbd, which asks nobody, never enters. Source: Android's
`packages/modules/adb/protocol.txt`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_MESSAGE = struct.Struct("<6I")
_VERSION, _MAX_PAYLOAD = 0x0100_0000, 4096
_TOKEN, _SIGNATURE, _PUBLIC_KEY = 1, 2, 3


class HesitantPhone:
    """Listens on loopback. `features`: what it announces once the owner has `confirm`ed."""

    def __init__(self, features: str = "shell_v2,cmd") -> None:
        self._banner = f"device::ro.product.name=hesitant;features={features}".encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.question, self._confirmed = threading.Event(), threading.Event()
        self._spawn(self._serve)

    def confirm(self) -> None:
        """Answers yes as the owner."""
        self._confirmed.set()

    def close(self) -> None:
        """Closes the listener and all connections."""
        for stream in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._listener.accept()
                self._connections.append(stream)
                self._spawn(self._hold, stream)

    def _hold(self, stream: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                head = stream.recv(_MESSAGE.size, socket.MSG_WAITALL)
                command, argument, _, size, _, _ = _MESSAGE.unpack(head)
                if size:
                    stream.recv(size, socket.MSG_WAITALL)
                self._answer(stream, struct.pack("<I", command), argument)

    def _answer(self, stream: socket.socket, command: bytes, argument: int) -> None:
        if command == b"OPEN":
            self._send(stream, b"OKAY", 1, argument)
        elif command == b"CNXN" and self._confirmed.is_set():
            self._send(stream, b"CNXN", _VERSION, _MAX_PAYLOAD, self._banner)
        elif command == b"CNXN" or (command == b"AUTH" and argument == _SIGNATURE):
            self._send(stream, b"AUTH", _TOKEN, 0, bytes(20))
        elif command == b"AUTH" and argument == _PUBLIC_KEY:
            self.question.set()
            self._spawn(self._admit, stream)

    def _admit(self, stream: socket.socket) -> None:
        self._confirmed.wait()
        with contextlib.suppress(OSError):
            self._send(stream, b"CNXN", _VERSION, _MAX_PAYLOAD, self._banner)

    def _send(self, stream: socket.socket, command: bytes, first: int, second: int, content: bytes = b"") -> None:
        (number,) = struct.unpack("<I", command)
        head = _MESSAGE.pack(number, first, second, len(content), sum(content), number ^ 0xFFFF_FFFF)
        stream.sendall(head + content)
