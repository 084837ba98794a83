"""Parses JSON that somebody else wrote: what it holds is bounded before anything is made of it.

pydantic's parser refuses more than 200 levels, integers of thousands of digits, NaN and half surrogate pairs by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydantic_core import from_json

from foundation.unavailable import Json

MOST_VALUES = 1_000_000
MOST_KEYS = 10_000
DEEPEST = 64
_INTEGER_LIMIT = 2**64


def parse_json(
    data: bytes,
    *,
    most_values: int = MOST_VALUES,
    most_keys: int = MOST_KEYS,
    deepest: int = DEEPEST,
    finite: bool = True,
) -> Json:
    """Returns the document in UTF-8 `data`.

    Raises ValueError, whose message is the reason: not JSON; more than `most_values` commas and opening brackets, which
    bound the number of values; more than `most_keys` in one object; more than `deepest` levels; an integer beyond 64
    bits; if `finite`, a number beyond a float's range, or one of JavaScript's that JSON lacks.
    """
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > most_values:
        raise ValueError(f"it holds more than {most_values} values")
    document: Json = from_json(data, allow_inf_nan=not finite)
    level: list[Sequence[Json]] = [[document]]
    for _ in range(deepest + 1):
        level = [content for values in level for content in _contents(values, most_keys, finite)]
        if not level:
            return document
    raise ValueError(f"it is nested more than {deepest} levels deep")


def _contents(values: Sequence[Json], most_keys: int, finite: bool) -> Iterator[Sequence[Json]]:
    """Yields the content of each object and list among the values, whose numbers it checks."""
    kinds = set(map(type, values))
    if int in kinds:
        integers = [value for value in values if type(value) is int]
        largest = max(max(integers), -min(integers))
        if largest >= _INTEGER_LIMIT:
            raise ValueError(f"a number in it has {len(str(largest))} digits, more than 64 bits hold")
    if finite and float in kinds and not all(math.isfinite(value) for value in values if type(value) is float):
        raise ValueError("a number in it is too large")
    if dict in kinds or list in kinds:
        for value in filter(None, values):
            if isinstance(value, dict):
                if len(value) > most_keys:
                    raise ValueError(f"an object in it has {len(value)} keys, more than {most_keys}")
                yield list(value.values())
            elif isinstance(value, list):
                yield value
