"""Sinks and sources of a call's bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from devices.transports.lines import OutputBudget
from devices.transports.transport import OnBytes

_CHUNK_BYTES = 256 << 10
_SIZE_LINE_BYTES = 32


class Collected:
    """Keeps all output. Raises `OutputLimitError` beyond the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.data = bytearray()
        self._budget = OutputBudget(limit_bytes)

    def __call__(self, chunk: bytes) -> None:
        self._budget.spend(len(chunk))
        self.data.extend(chunk)


class Pulled:
    """Writes a file that is preceded by a line with its size, 0 for pseudo files."""

    def __init__(self, stream: BinaryIO, on_progress: OnBytes | None) -> None:
        self._stream, self._on_progress = stream, on_progress
        self._head: bytes | None = b""
        self._size = 0
        self._done = 0

    def __call__(self, chunk: bytes) -> None:
        if self._head is not None:
            self._head += chunk
            line, newline, chunk = self._head.partition(b"\n")
            if not newline and len(line) < _SIZE_LINE_BYTES:
                return
            self._size = int(line) if line.isdigit() else 0
            self._head = None
        if chunk:
            self._stream.write(chunk)
            self._done += len(chunk)
            if self._on_progress:
                self._on_progress(self._done, max(self._done, self._size))


class Counted:
    """Passes chunks on and counts their bytes, on top of those already there."""

    def __init__(self, chunks: Iterator[bytes], there_bytes: int) -> None:
        self.total_bytes = there_bytes
        self._chunks = chunks

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.total_bytes += len(chunk)
        return chunk


def chunks_of(stream: BinaryIO, offset_bytes: int, size_bytes: int, on_progress: OnBytes | None) -> Iterator[bytes]:
    """Yields the content of a file from `offset_bytes` on. A chunk is reported when the next one is requested, as it
    has been sent by then.
    """
    stream.seek(offset_bytes)
    done = offset_bytes
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk
        done += len(chunk)
        if on_progress:
            on_progress(done, max(done, size_bytes))
