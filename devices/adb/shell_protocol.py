"""The packets of adb's shell protocol, version 2: one byte of stream, four of length (little endian), the content.

Source: Android's `packages/modules/adb/shell_protocol.h`.
"""

from __future__ import annotations

import struct

from devices.shell.link import Received

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")


def packet(stream: int, content: bytes = b"") -> bytes:
    """A packet as it goes over the connection."""
    return _HEADER.pack(stream, len(content)) + content


class Unpacker:
    """Takes the bytes of a connection as they come. `exited`: the shell has ended, and nothing follows."""

    def __init__(self) -> None:
        self.exited = False
        self._header = b""
        self._stream, self._left = STDOUT, 0

    def feed(self, chunk: bytes) -> Received:
        """What the chunk holds of both outputs; a long packet is passed on in parts."""
        outputs: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        at = 0
        while at < len(chunk):
            if self._left:
                part = chunk[at : at + self._left]
                outputs.get(self._stream, []).append(part)
                self._left -= len(part)
                at += len(part)
                continue
            missing = _HEADER.size - len(self._header)
            self._header += chunk[at : at + missing]
            at += missing
            if len(self._header) == _HEADER.size:
                self._stream, self._left = _HEADER.unpack(self._header)
                self._header = b""
                self.exited = self.exited or self._stream == EXIT
        return Received(b"".join(outputs[STDOUT]), b"".join(outputs[STDERR]))
