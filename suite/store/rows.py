"""Adds rows, finds existing ones, and packs numbers as compressed columns.

A column is little-endian int64 or float64, one value after the other, through zlib.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, insert, select

from suite.errors import StoreError

#: One row of a result by column name.
Row = Mapping[Any, Any]
#: What a column takes.
SqlValue = str | int | float | bytes | None


def new_id(connection: Connection, table: Table, values: Mapping[str, SqlValue]) -> int:
    """Adds a row and returns its id."""
    key = connection.execute(insert(table).values(dict(values))).inserted_primary_key
    if key is None:
        raise RuntimeError(f"the database gave no id for a row of {table.name}")
    return int(key[0])


def found_or_new(
    connection: Connection, table: Table, identity: Mapping[str, SqlValue], facts: Mapping[str, SqlValue]
) -> int:
    """Returns the id of the row with this identity, or adds one with `facts` too. Only within a writing transaction."""
    statement = select(table.c.id).where(*(table.c[name] == value for name, value in identity.items()))
    found = connection.execute(statement).scalar_one_or_none()
    return int(found) if found is not None else new_id(connection, table, {**identity, **facts})


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
    """Packs columns by name, each with its type (`INTEGER`, `FLOAT`), NaN and infinities included."""
    layout = [[name, kind, len(values)] for name, (kind, values) in columns.items()]
    plain = b"".join(np.asarray(values, dtype=f"<{kind}").tobytes() for kind, values in columns.values())
    return Columns(json.dumps(layout), zlib.compress(plain, _LEVEL))


def unpack(columns: Columns) -> dict[str, list[int] | list[float]]:
    """Unpacks the columns as Python numbers. StoreError if data and layout do not agree."""
    try:
        layout = [(str(name), str(kind), int(length)) for name, kind, length in json.loads(columns.layout)]
        size = sum(length for _, _, length in layout) * _WIDTH
        if any(kind not in (INTEGER, FLOAT) or length < 0 for _, kind, length in layout):
            raise StoreError("a stored sample has columns of an unknown kind; the raw output in runs/ still has them")
        # One byte more than expected reveals excess data without unpacking all of it.
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
