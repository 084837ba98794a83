"""Cuts a device's output into lines, within bounds, as what a device prints is untrusted."""

from __future__ import annotations

from devices.errors import OutputLimitError
from devices.transports.transport import LINE_LIMIT_BYTES, OnLine


class OutputBudget:
    """Counts bytes and raises `OutputLimitError` over the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._spent_bytes = 0

    def spend(self, count: int) -> None:
        """Deducts `count` bytes from the budget."""
        self._spent_bytes += count
        if self._spent_bytes > self._limit_bytes:
            raise OutputLimitError(
                f"the program printed more than {self._limit_bytes} bytes and was ended; check what it prints."
            )


class LineSplitter:
    """Cuts chunks at newlines and hands over each line without it, even a last one that lacks it."""

    def __init__(self, on_line: OnLine, budget: OutputBudget, line_limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._on_line = on_line
        self._budget = budget
        self._limit_bytes = line_limit_bytes
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk of output. Raises `OutputLimitError`, and whatever the receiver of lines raises."""
        self._budget.spend(len(chunk))
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            self._rest += line
            self._check_length()
            self._deliver()
        self._rest += rest
        self._check_length()

    def finish(self) -> None:
        """Hands over what came after the last newline."""
        if self._rest:
            self._deliver()

    def _check_length(self) -> None:
        if len(self._rest) > self._limit_bytes:
            raise OutputLimitError(
                f"the program printed a line of over {self._limit_bytes} bytes and was ended; check what it prints."
            )

    def _deliver(self) -> None:
        line = bytes(self._rest).decode("utf-8", errors="replace")
        self._rest.clear()
        self._on_line(line)
