"""Marks in a stream of bytes: they tell a program's output from what stands around it, and its end from a cut.

A mark is `RS TOKEN SP LETTER SP VALUE LF`; the token is drawn at random for each call, so that no output can hold it.
"""

from __future__ import annotations

from collections.abc import Callable

_RS = 0x1E
_MARK_LIMIT_BYTES = 4096

OnMark = Callable[[str, str], None]


class MarkedStream:
    """Hands over what stands between the mark `B` and the mark `E`, and every mark to `on_mark`."""

    def __init__(self, token: str, on_output: Callable[[bytes], None], on_mark: OnMark | None = None) -> None:
        self.ended = False
        self._prefix = bytes([_RS]) + token.encode("ascii") + b" "
        self._on_output = on_output
        self._on_mark = on_mark
        self._begun = False
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk; what may be the beginning of a mark is kept for the next one."""
        data = self._rest + chunk
        self._rest = b""
        while data:
            at = data.find(self._prefix)
            if at < 0:
                kept = self._partial(data)
                self._deliver(data[: len(data) - kept])
                self._rest = data[len(data) - kept :]
                return
            self._deliver(data[:at])
            end = data.find(b"\n", at)
            if end < 0 and len(data) - at < _MARK_LIMIT_BYTES:
                self._rest = data[at:]
                return
            mark = data[at + len(self._prefix) : end if end >= 0 else len(data)].decode("utf-8", "replace")
            data = data[end + 1 :] if end >= 0 else b""
            self._note(*mark.partition(" ")[::2])

    def _note(self, letter: str, value: str) -> None:
        if letter == "B":
            self._begun = True
        elif letter == "E":
            self.ended = True
        if self._on_mark is not None:
            self._on_mark(letter, value)

    def _deliver(self, data: bytes) -> None:
        if data and self._begun and not self.ended:
            self._on_output(data)

    def _partial(self, data: bytes) -> int:
        """How many bytes at the end may begin a mark."""
        at = data.rfind(_RS, max(0, len(data) - len(self._prefix) + 1))
        return len(data) - at if at >= 0 and self._prefix.startswith(data[at:]) else 0
