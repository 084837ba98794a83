"""Errors that a user can fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from foundation.text import did_you_mean

_MOST_NAMES = 12


class UserError(Exception):
    """Something the user can fix: one sentence with the cause and the next action, printed without a traceback."""

    exit_code: ClassVar[int] = 2


def unknown_name(what: str, name: str, known: Iterable[str], *, beginning: str = "Unknown") -> UserError:
    """Returns the error for a name that is not in `known`; it suggests the nearest names, else the first ones."""
    names = sorted(set(known))
    offer = did_you_mean(name, names) or (f"choose one of {listed(names)}." if names else "there are none yet.")
    return UserError(f"{beginning} {what} {name!r}: {offer}")


def listed(names: Iterable[str]) -> str:
    """Formats names as `a, b and 3 more`, or `none`."""
    every = list(names)
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return f"{', '.join(every[:_MOST_NAMES]) or 'none'}{more}"
