"""Text that goes into messages: from devices (untrusted) and about names (nearest ones)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def decode(data: bytes | bytearray) -> str:
    """UTF-8 from outside; what is not valid becomes U+FFFD."""
    return data.decode("utf-8", errors="replace")


def printable(text: str, limit: int = 300) -> str:
    """`text` from outside as one line that a terminal can't misread.

    Control and other non-printable characters (escape sequences and lone surrogates among them) become U+FFFD, white
    space becomes a blank, and what exceeds `limit` characters is cut.
    """
    cut = text[: limit + 1]
    line = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in cut).strip()
    return line if len(text) <= limit else line[: limit - 1] + "…"


def last_line(text: str, limit: int = 160) -> str:
    """`: ` and the last line of what a program printed, where it printed any: for the end of a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f": {printable(lines[-1], limit)}" if lines else ""


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The known names that a user may have meant, best first; empty if none is near."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    near = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    return tuple(by_folded[match] for match in near)


def did_you_mean(name: str, known: Iterable[str], *, count: int = 3, quote: str = "") -> str:
    """`did you mean a or b?`, each name between `quote`; nothing if none is near."""
    near = nearest_names(name, known, count)
    return f"did you mean {' or '.join(f'{quote}{one}{quote}' for one in near)}?" if near else ""
