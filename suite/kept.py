"""Reads and writes JSON documents that the home keeps beside the store, atomically and by their ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from foundation.atomic import write_atomic
from foundation.errors import UserError, unknown_name
from foundation.foreign_files import DAMAGED
from foundation.unavailable import Json
from suite.errors import StoreError

LATEST = "latest"
REPEAT, RESUME = "repeat the command", "continue with --resume"
"""What to do when a document can be written again."""

_T = TypeVar("_T")


def keep_document(path: Path, document: Json, what: str, then: str = REPEAT) -> None:
    """Writes a document, which errors call `what`. Raises StoreError."""
    keep_text(path, json.dumps(document, indent=1), what, then)


def keep_text(path: Path, text: str, what: str, then: str = REPEAT) -> None:
    """Writes a text that belongs to a document, which errors call `what`. Raises StoreError."""
    try:
        write_atomic(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise StoreError(
            f"{what} cannot be written to {path} ({error.strerror}, error {error.errno}): free space or make the "
            f"folder writable, then {then}."
        ) from error


def read_document(path: Path, parse: Callable[[Json], _T], what: str, remedy: str) -> _T:
    """Returns what `parse` makes of a document. Raises UserError if the file can't be read.

    `parse` raises ValueError for an invalid document, which also becomes a UserError.
    """
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"{what} {path} can't be read ({type(error).__name__}: {error}): it is damaged or of another version of "
            f"the suite; {remedy}."
        ) from error


def read_or_none(path: Path, parse: Callable[[Json], _T]) -> _T | None:
    """Returns what `parse` makes of a document, or None if it can't be read."""
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED):
        return None


def choose_id(name: str, known: Sequence[str], what: str, nothing: str) -> str:
    """Returns `name`, or the last of the `known` ids for `latest`.

    Raises UserError if it is not a known id, or with the sentence `nothing` if there are no ids.
    """
    if not known:
        raise UserError(nothing)
    if name == LATEST:
        return known[-1]
    if name not in known:
        raise unknown_name(what, name, [*known, LATEST])
    return name
