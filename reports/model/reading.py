"""Reads values from JSON documents in which anything may be missing, malformed, or ``{"unavailable": "why"}``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from foundation.unavailable import Json, Unavailable

Number = float | Unavailable
Found: TypeAlias = "Json | Unavailable"
NOT_RECORDED = Unavailable("not recorded by this run")


@dataclass(frozen=True)
class Odd(Unavailable):
    """A value of the wrong type was recorded; ``recorded`` is its text."""

    recorded: str = ""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, both ends in the unit of the data."""

    low: float
    high: float

    def document(self) -> list[float]:
        """``[low, high]``."""
        return [self.low, self.high]


def value(document: Found, *path: str) -> Found:
    """Returns what is at ``path``, or the first :class:`Unavailable` on the way to it."""
    here = document
    for key in path:
        if isinstance(here, Unavailable):
            return here
        here = here.get(key) if isinstance(here, Mapping) else None
        if here is None:
            return NOT_RECORDED
        if isinstance(here, Mapping) and "unavailable" in here:
            return Unavailable(str(here["unavailable"]) or "no reason was recorded")
    return here


def number(document: Found, *path: str) -> Number:
    """Returns the finite number at ``path``, or why there is none. A truth value is not a number."""
    found = value(document, *path)
    if isinstance(found, Unavailable):
        return found
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Odd(f"recorded as {str(found)[:40]!r}, which is not a number", _text(found))
    try:
        finite = math.isfinite(found)
    except OverflowError:
        return Odd("recorded as a number that is too large", _text(found))
    return found if finite else Odd(f"recorded as {found}", _text(found))


def known_number(document: Found, *path: str) -> float | None:
    """Returns the number at ``path``, None if there is none."""
    found = number(document, *path)
    return None if isinstance(found, Unavailable) else float(found)


def flag(document: Found, *path: str) -> bool | Unavailable:
    """Returns the truth value at ``path``, or why there is none."""
    found = value(document, *path)
    if isinstance(found, bool | Unavailable):
        return found
    return Odd("recorded as something other than yes or no", _text(found))


def interval(document: Found, *path: str) -> Interval | Unavailable:
    """Returns the interval at ``path``, or why it is not complete."""
    found = value(document, *path)
    if isinstance(found, Unavailable):
        return found
    if isinstance(found, Sequence) and not isinstance(found, str) and len(found) == 2:
        low, high = number(found[0]), number(found[1])
        if not isinstance(low, Unavailable) and not isinstance(high, Unavailable):
            return Interval(low, high)
    return Unavailable("no interval was recorded")


def words(document: Found, *path: str) -> str | Unavailable:
    """Returns the text at ``path``, or why there is none."""
    found = value(document, *path)
    return found if isinstance(found, Unavailable) else str(found)


def text(document: Found, *path: str, default: str = "") -> str:
    """Returns the text at ``path``, ``default`` if there is none."""
    found = words(document, *path)
    return default if isinstance(found, Unavailable) else found


def known_text(document: Found, *path: str) -> str | None:
    """Returns the text at ``path``, None if there is none."""
    found = words(document, *path)
    return None if isinstance(found, Unavailable) else found


def items(document: Found, *path: str) -> Sequence[Json]:
    """Returns the list at ``path``, an empty one if there is none."""
    found = value(document, *path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def records(document: Found, *path: str) -> list[Mapping[str, Json]]:
    """Returns the objects of the list at ``path``, an empty list if there is none."""
    return [item for item in items(document, *path) if isinstance(item, Mapping)]


def mapping(document: Found, *path: str) -> Mapping[str, Json]:
    """Returns the object at ``path``, an empty one if there is none."""
    found = value(document, *path)
    return found if isinstance(found, Mapping) else {}


def _text(found: Json) -> str:
    return str(found).lower() if isinstance(found, bool) else str(found)
