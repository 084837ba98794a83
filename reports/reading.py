"""Reading values out of a run's document, where anything may be missing or ``{"unavailable": "why"}``.

A value that can't be shown as a number is an :class:`Unavailable` with its reason: never 0 and never a guess.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from foundation.unavailable import Unavailable

Number = float | Unavailable
NOT_RECORDED = Unavailable("not recorded by this run")


def value(record: Mapping[str, Any], *path: str) -> Any:
    """What is at ``path``, or the first :class:`Unavailable` on the way to it."""
    here: Any = record
    for key in path:
        if not isinstance(here, Mapping) or here.get(key) is None:
            return NOT_RECORDED
        here = here[key]
        if isinstance(here, Mapping) and "unavailable" in here:
            return Unavailable(str(here["unavailable"]) or "no reason was recorded")
    return here


def number(record: Mapping[str, Any], *path: str) -> Number:
    """The finite number at ``path``, or why there is none."""
    found = value(record, *path)
    if isinstance(found, Unavailable):
        return found
    return as_number(found)


def as_number(found: object) -> Number:
    """``found`` as a finite float, or why it is none. A truth value is no number."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Unavailable(f"recorded as {str(found)[:40]!r}, which is not a number")
    try:
        number_found = float(found)
    except OverflowError:
        return Unavailable("recorded as a number too large to show")
    return number_found if math.isfinite(number_found) else Unavailable(f"recorded as {number_found}")


def counted(record: Mapping[str, Any], key: str) -> str:
    """A count that the store begins at 0, as people count: from 1."""
    found = record.get(key)
    return str(found + 1) if isinstance(found, int) and not isinstance(found, bool) else "?"


def interval(record: Mapping[str, Any], *path: str) -> tuple[float, float] | None:
    """The two ends at ``path``, or None when there is no complete interval."""
    ends = value(record, *path)
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return None
    low, high = as_number(ends[0]), as_number(ends[1])
    if isinstance(low, Unavailable) or isinstance(high, Unavailable):
        return None
    return low, high


def text(record: Mapping[str, Any], *path: str, default: str = "") -> str:
    """The text at ``path``, or ``default`` when there is none."""
    found = value(record, *path)
    return default if isinstance(found, Unavailable) else str(found)


def records(record: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list at ``path``; an empty list when there is none."""
    found = value(record, *path)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    return [item for item in found if isinstance(item, Mapping)]


def mapping(record: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at ``path``; an empty one when there is none."""
    found = value(record, *path)
    return found if isinstance(found, Mapping) else {}


def ratio(over: Number, under: Number) -> Number:
    """``over / under``, or why there is none."""
    if isinstance(over, Unavailable):
        return over
    if isinstance(under, Unavailable):
        return under
    return over / under if under > 0 else Unavailable("the value to divide by is 0")
