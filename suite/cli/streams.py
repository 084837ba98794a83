"""Standard input, output and error of a command, whatever became of them: closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


class NobodyReads(Exception):  # noqa: N818 - most often no fault
    """Standard output is a pipe whose reader has gone."""


def prepare_streams() -> None:
    """Prepares the streams of this process.

    Whatever is written to standard error is news of what goes on, and no reason to end it: what can't be written there
    is lost. Text comes out in any encoding. A descriptor that is closed would be given to the next file that is opened,
    such as a journal, and what a library prints would go there.
    """
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(sys.stderr.fileno(), "wb", closefd=False)),
            encoding=sys.stderr.encoding,
            errors="replace",
            line_buffering=True,
            write_through=True,
        )


def flush_output() -> None:
    """Writes what standard output still holds. Raises NobodyReads or OSError if it can't be written."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise NobodyReads(f"{error.strerror}, error {error.errno}") from error


class _Lossy(io.FileIO):
    """A file that loses what can't be written to it."""

    def write(self, data: Any) -> int:
        """Writes the data; returns how much of it is dealt with."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written
