"""Text that goes into messages: from devices (untrusted) and about names (nearest ones)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# At most 30 digits: what is longer is no reading, and a float that overflowed would be infinite.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?![0-9A-Za-z_.])")


def printable(text: str, limit: int = 300) -> str:
    """`text` from a device as one line that a terminal can't misread.

    Control and other non-printable characters (escape sequences among them) become `?`, white space becomes a
    blank, and what exceeds `limit` characters is cut.
    """
    cut = text[: limit + 1]
    line = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in cut).strip()
    return line if len(text) <= limit else line[: limit - 1] + "…"


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The known names that a user may have meant, best first; empty if none is near."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    return tuple(by_folded[match] for match in difflib.get_close_matches(name.casefold(), by_folded, n=count))


def first_number(text: str) -> float | None:
    """The number a sysfs file begins with, or None."""
    match = _NUMBER.match(text)
    return float(match[0]) if match else None
