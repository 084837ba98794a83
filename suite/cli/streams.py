"""Makes a command cope with any standard input, output and error: closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from typing import Any

_LETTERS = {
    **{"\u2713": "v", "\u2717": "x", "\u26a0": "!", "\u25d0": "~", "\u25cc": "-", "\u2298": "-", "\u2022": "*"},
    **{"\u2192": "->", "\u25b2": "^", "\u25bc": "v", "\u25be": "v", "\u2500": "-", "\u2502": "|", "\u2026": "..."},
    **{"\u00d7": "x", "\u00b1": "+-", "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2248": "~", "\u2264": "<="},
    **{"\u2265": ">=", "\u00b7": ".", "\u00b0": "deg", "\u00b5": "u", "\u03bc": "u", "\u03a9": "Ohm", "\u0394": "D"},
    **{"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00df": "ss", "\u00e6": "ae", "\u00f8": "o"},
    **{chr(0x2581 + height): str(height + 1) for height in range(8)},  # a sparkline
}
"""Replacements for characters that the output's encoding lacks; an accented letter becomes the plain one."""
_ERRORS = "suite.letters"


def _in_letters(error: UnicodeError) -> tuple[str, int]:
    """Replaces what can't be encoded, as a codec's handler of errors."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_letters, text)), error.end


def _letters(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _LETTERS.get(character) or plain or "?"


codecs.register_error(_ERRORS, _in_letters)


def writable(text: str) -> str:
    """Returns the text as standard output will print it, so that columns get the width of what is printed."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, _ERRORS).decode(encoding)


class NobodyReads(Exception):  # noqa: N818 - rarely an error
    """Standard output is a pipe whose reader has gone."""


def prepare_streams() -> None:
    """Prepares the streams of this process.

    Standard error only reports progress, so what can't be written there is dropped instead of ending the command.
    Characters that the encoding lacks are replaced. A closed descriptor is opened on /dev/null; otherwise the next
    file to be opened, such as a journal, would get its number, and what a library prints would go there.
    """
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ERRORS)
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(sys.stderr.fileno(), "wb", closefd=False)),
            encoding=sys.stderr.encoding,
            errors=_ERRORS,
            line_buffering=True,
            write_through=True,
        )


def flush_output() -> None:
    """Flushes standard output. Raises NobodyReads or OSError if that fails."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise NobodyReads(f"{error.strerror}, error {error.errno}") from error


class _Lossy(io.FileIO):
    """A file that drops what can't be written to it."""

    def write(self, data: Any) -> int:
        """Writes the data. Returns how many bytes were written or dropped."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written
