"""Defines the exit codes of commands, and the orchestrator's own errors.

These errors are not the user's; see `foundation.errors` for those that are.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of `suite`, one for each outcome."""

    OK = 0
    ERROR = 1
    USAGE = 2
    REGRESSION = 3
    INCOMPLETE = 4
    """Inconclusive, or partly failed."""
    INTERRUPTED = 130
    """By the convention of shells: 128 + SIGINT."""


class SuiteError(Exception):
    """Base of the orchestrator's own errors. The message is one sentence for the user; no traceback is needed."""

    exit_code: ClassVar[int] = ExitCode.ERROR


class StoreError(SuiteError):
    """The store cannot be read or written (locked, full, read-only, corrupt, of another version). Exit code 1.

    Everything that was committed stays in the file.
    """


class DamagedStore(StoreError):  # noqa: N818 - names the thing, not the error
    """The store has lost some of what was committed to it, or is not a store. `suite store rebuild` rebuilds it."""
