"""A value that was not measured, with the reason: never 0, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeGuard

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""Whatever a JSON document can hold; what a value is must be found out before it is used."""


@dataclass(frozen=True)
class Unavailable:
    """Stands where a number would, and says why there is none."""

    reason: str

    def document(self) -> dict[str, str]:
        """The form it takes in documents: `{"unavailable": reason}`."""
        return {"unavailable": self.reason}


def unavailable(reason: str) -> dict[str, str]:
    """The document form of a missing value."""
    return Unavailable(reason).document()


def is_number(value: object) -> TypeGuard[float | int]:
    """Whether a document's value is a number that was measured (a truth value is not a number)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Documented(Protocol):
    def document(self) -> Any: ...


def as_document(value: float | _Documented) -> Any:
    """A number as it is, anything else (`Unavailable`, an interval) in its document form."""
    return value if isinstance(value, int | float) else value.document()


def finite(value: Any) -> Any:
    """A copy of a document in which every number that is not finite is unavailable: a device may report anything."""
    if isinstance(value, float) and not math.isfinite(value):
        return unavailable(f"the value came out as {value}")
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
