"""How a command ends: the exit code of each outcome, and the orchestrator's own errors.

Those are not the user's fault; see `foundation.errors` for errors that are.
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
    """As shells have it: 128 + SIGINT."""


class SuiteError(Exception):
    """Base of the orchestrator's own errors. The message is one sentence for the user; no traceback is needed."""

    exit_code: ClassVar[int] = ExitCode.ERROR


class StoreError(SuiteError):
    """The store cannot be read or written (locked, full, read-only, corrupt, of another version); exit code 1.

    Whatever was committed stays in the file.
    """


class DamagedStore(StoreError):  # noqa: N818 - what it is, not what raised it
    """The store has lost some of what was committed to it, or is no store at all; `suite store rebuild` makes it
    anew."""
