"""Errors of the workloads: models, tasks, programs."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; the message is one sentence with the cause and the next action."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in `known`, offering the nearest ones (all of them if none is near)."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    offer = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(names)}."
    return UserError(f"Unknown {what} {name!r}: {offer}")
