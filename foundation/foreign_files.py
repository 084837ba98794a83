"""Opens files that somebody else wrote (regular ones, up to a size limit) and parses JSON from them within bounds.

A pipe or a device may never end, and a file of any size may be named by mistake or to do harm. pydantic's parser itself
refuses more than 200 levels, integers of thousands of digits, NaN and half surrogate pairs.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from pydantic_core import from_json

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
MOST_VALUES = 1_000_000
_MOST_KEYS = 10_000
_DEEPEST = 64
_INTEGER_LIMIT = 2**64
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""The errors that reading and using a damaged document of our own can raise."""


@contextmanager
def open_regular(
    path: Path,
    *,
    what: str,
    limit_bytes: int | None = None,
    refusal: type[UserError] = UserError,
    advice: str = "check the path",
) -> Iterator[BufferedReader]:
    """Opens `path` for reading, as `what` (such as "a plan file"), without ever waiting for another process.

    Raises `refusal` for anything but a regular file, or (with the `advice`) for more than `limit_bytes`, and OSError if
    it can't be opened.
    """
    # Also checked before opening, which alone can trigger a device.
    _require_regular(path.stat().st_mode, path, what, refusal)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        _require_regular(status.st_mode, path, what, refusal)
        if limit_bytes is not None and status.st_size > limit_bytes:
            raise refusal(_too_large(path, what, limit_bytes, f"{status.st_size} bytes", advice))
        yield stream


def read_regular(
    path: Path,
    *,
    what: str,
    limit_bytes: int,
    refusal: type[UserError] = UserError,
    advice: str = "check the path",
) -> bytes:
    """Returns the content of `path`, never reading more than `limit_bytes`; raises as `open_regular` does."""
    with open_regular(path, what=what, limit_bytes=limit_bytes, refusal=refusal, advice=advice) as stream:
        data = stream.read(limit_bytes + 1)  # it may have grown, and the kernel's pseudo files have size 0
    if len(data) > limit_bytes:
        raise refusal(_too_large(path, what, limit_bytes, "more bytes than its stated size", advice))
    return data


def _require_regular(mode: int, path: Path, what: str, refusal: type[UserError]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for matches, name in _KINDS if matches(mode)), "not a regular file")
        raise refusal(
            f"{printable(str(path))} is {kind}, and {what} must be a file: save it as one and name that file."
        )


def _too_large(path: Path, what: str, limit_bytes: int, size: str, advice: str) -> str:
    return f"{printable(str(path))} has {size}, and {limit_bytes} is the limit for {what}: {advice}."


def parse_json(
    data: bytes,
    *,
    most_values: int = MOST_VALUES,
    most_keys: int = _MOST_KEYS,
    deepest: int = _DEEPEST,
    finite: bool = True,
) -> Json:
    """Returns the document in UTF-8 `data`.

    Raises ValueError, whose message is the reason: not JSON; more than `most_values` commas and opening brackets (which
    bound the number of values); more than `most_keys` in one object; more than `deepest` levels; an integer beyond 64
    bits; or, if `finite`, a number beyond a float's range, or a JavaScript number that JSON lacks (NaN, Infinity).
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
    """Yields the content of each object and list among the values, and checks their numbers."""
    kinds = set(map(type, values))
    if int in kinds:
        integers = [value for value in values if type(value) is int]
        largest = max(max(integers), -min(integers))
        if largest >= _INTEGER_LIMIT:
            raise ValueError(f"a number in it has {len(str(largest))} digits, more than 64 bits can hold")
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
