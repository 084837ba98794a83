"""Errors of the orchestrator that are not the user's fault; see `foundation.errors` for those that are."""

from __future__ import annotations

from typing import ClassVar


class SuiteError(Exception):
    """Base of the orchestrator's own errors. The message is one sentence for the user; no traceback is needed."""

    exit_code: ClassVar[int] = 1


class StoreError(SuiteError):
    """The store cannot be read or written (locked, full, read-only, corrupt, of another version); exit code 1.

    Whatever was committed stays in the file.
    """
