"""Text for messages: untrusted text from devices, suggestions for misspelt names, and numbers with three significant
digits.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

_LONGEST_NAME = 200
_MOST_CANDIDATES = 1000


def decode(data: bytes | bytearray) -> str:
    """Decodes UTF-8 from outside; invalid bytes become U+FFFD."""
    return data.decode("utf-8", errors="replace")


def harmless(text: str) -> str:
    """Returns `text` from outside without anything that a terminal acts on, except line ends.

    Control and other non-printable characters (escape sequences and lone surrogates among them) become U+FFFD, other
    white space becomes a blank.
    """
    if text.isprintable():
        return text  # the usual case, and much faster
    return "".join(
        c if c.isprintable() or c == "\n" else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def printable(text: str, limit: int = 300) -> str:
    """Returns `text` from outside as one `harmless` line, cut at `limit` characters."""
    line = harmless(text[: limit + 1]).replace("\n", " ").strip()
    return line if len(text) <= limit else line[: limit - 1] + "…"


def last_line(text: str, limit: int = 160) -> str:
    """Returns `: ` and the last line of a program's output, if any, as the end of a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f": {printable(lines[-1], limit)}" if lines else ""


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """Returns the known names that a user may have meant, best first; empty if none is close."""
    if len(name) > _LONGEST_NAME:
        return ()  # comparing takes time quadratic in the length
    by_folded: dict[str, str] = {}
    for candidate in itertools.islice((one for one in known if len(one) <= _LONGEST_NAME), _MOST_CANDIDATES):
        by_folded.setdefault(candidate.casefold(), candidate)
    near = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    return tuple(by_folded[match] for match in near)


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3, quote: str = "") -> str:
    """Returns `did you mean a or b?`, each name in `quote`s; an empty text if none is close."""
    near = nearest_names(name, known, count)
    return f"did you mean {' or '.join(f'{quote}{one}{quote}' for one in near)}?" if near else ""


def format_rounded(value: float) -> str:
    """Formats `value` with two decimals below 10, one below 100, none above: 1.27, 34.5, 812."""
    size = abs(value)
    # Compared with the rounded limits, so that 9.996 is 10.0 and not 10.00.
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{decimals}f}"


def format_duration(seconds: float) -> str:
    """Formats seconds up to two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
