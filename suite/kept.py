"""JSON documents that the home keeps beside the store: written whole or not at all, and found again by their ids."""

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
"""What to do once a document can be written again."""

_T = TypeVar("_T")


def keep_document(path: Path, document: Json, what: str, then: str = REPEAT) -> None:
    """Writes a document, which an error calls `what`. Raises StoreError."""
    keep_text(path, json.dumps(document, indent=1), what, then)


def keep_text(path: Path, text: str, what: str, then: str = REPEAT) -> None:
    """Writes what belongs to a document, likewise."""
    try:
        write_atomic(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise StoreError(
            f"{what} cannot be written to {path} ({error.strerror}, error {error.errno}): free space or make the "
            f"folder writable, then {then}."
        ) from error


def read_document(path: Path, parse: Callable[[Json], _T], what: str, remedy: str) -> _T:
    """Returns what `parse` makes of a document; it raises ValueError for one that is none. UserError for that, and for
    a file that can't be read."""
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"{what} {path} can't be read ({type(error).__name__}: {error}): it is damaged or of another version of "
            f"the suite; {remedy}."
        ) from error


def read_or_none(path: Path, parse: Callable[[Json], _T]) -> _T | None:
    """Returns what `parse` makes of a document, None if there is none that can be read."""
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED):
        return None


def choose_id(name: str, known: Sequence[str], what: str, nothing: str) -> str:
    """Returns `name`, or for `latest` the last of the `known` ids. Raises UserError if it is none of them, and with the
    sentence `nothing` if there are none.
    """
    if not known:
        raise UserError(nothing)
    if name == LATEST:
        return known[-1]
    if name not in known:
        raise unknown_name(what, name, [*known, LATEST])
    return name
