"""Numbers as compressed columns: little-endian int64 and float64, one after the other, through zlib."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suite.errors import StoreError

INTEGER = "i8"
FLOAT = "f8"
_WIDTH = 8
_LEVEL = 6


@dataclass(frozen=True)
class Columns:
    """`layout` is a JSON list of [name, type, length]; `data` the compressed bytes of the columns in that order."""

    layout: str
    data: bytes


def pack(columns: Mapping[str, tuple[str, Sequence[int] | Sequence[float]]]) -> Columns:
    """Columns by name, each with its type (`INTEGER`, `FLOAT`). NaN and infinities are kept as they are."""
    layout = [[name, kind, len(values)] for name, (kind, values) in columns.items()]
    plain = b"".join(np.asarray(values, dtype=f"<{kind}").tobytes() for kind, values in columns.values())
    return Columns(json.dumps(layout), zlib.compress(plain, _LEVEL))


def unpack(columns: Columns) -> dict[str, list[int] | list[float]]:
    """The columns again, as Python numbers. StoreError when data and layout do not agree."""
    try:
        layout = [(str(name), str(kind), int(length)) for name, kind, length in json.loads(columns.layout)]
        size = sum(length for _, _, length in layout) * _WIDTH
        if any(kind not in (INTEGER, FLOAT) or length < 0 for _, kind, length in layout):
            raise StoreError("a stored sample has columns of an unknown kind; the raw output in runs/ still has them")
        # One byte more than expected shows that there is too much, without unpacking all of it.
        plain = zlib.decompressobj().decompress(columns.data, size + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise StoreError(f"a stored sample cannot be read ({error}); the raw output in runs/ still has it") from error
    if len(plain) != size:
        raise StoreError(f"a stored sample has {len(plain)} bytes for {size}; the raw output in runs/ still has it")
    unpacked: dict[str, list[int] | list[float]] = {}
    offset = 0
    for name, kind, length in layout:
        unpacked[name] = np.frombuffer(plain, dtype=f"<{kind}", count=length, offset=offset).tolist()
        offset += length * _WIDTH
    return unpacked
