"""Errors of the orchestrator: what a user can mend, and what happened to the store."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class SuiteError(Exception):
    """Base of the orchestrator's own errors. The message is one sentence for the user; no traceback is needed."""

    exit_code: ClassVar[int] = 1


class UserError(SuiteError):
    """Bad usage or input that the user can mend; the command line prints it and leaves with exit code 2."""

    exit_code: ClassVar[int] = 2


class StoreError(SuiteError):
    """The store cannot be read or written (locked, full, read-only, corrupt, of another version); exit code 1.

    Whatever was committed before stays in the file.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not known, offering the nearest known ones (three at most)."""
    choices = sorted(set(known))
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if near:
        return UserError(f"there is no {kind} '{name}': did you mean {' or '.join(near)}?")
    listed = ", ".join(choices[:12]) if choices else "none"
    return UserError(f"there is no {kind} '{name}': choose one of the {len(choices)} known ({listed})")
