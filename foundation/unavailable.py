"""A value that was not measured, with the reason; never 0, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeGuard

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""Anything that a JSON document can contain; the type of a value must be checked before it is used."""


@dataclass(frozen=True)
class Unavailable:
    """Replaces a number that is missing, and says why."""

    reason: str

    def document(self) -> dict[str, str]:
        """Returns its form in documents: `{"unavailable": reason}`."""
        return {"unavailable": self.reason}


def unavailable(reason: str) -> dict[str, str]:
    """Returns the document form of a missing value."""
    return Unavailable(reason).document()


def is_number(value: object) -> TypeGuard[float | int]:
    """Returns whether a document's value is a measured number (a boolean is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Documented(Protocol):
    def document(self) -> Any: ...


def as_document(value: float | str | _Documented) -> Any:
    """Returns a number or text unchanged, anything else (`Unavailable`, an interval) in its document form."""
    return value if isinstance(value, int | float | str) else value.document()


def finite(value: Any) -> Any:
    """Copies a document with every non-finite number made unavailable: a device may report anything."""
    if isinstance(value, float) and not math.isfinite(value):
        return unavailable(f"the value was {value}")
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
