"""Adding rows, and finding those that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert, select

#: One row of a result by column name.
Row = Mapping[Any, Any]


def new_id(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """The id of a new row."""
    key = connection.execute(insert(table).values(dict(values))).inserted_primary_key
    if key is None:
        raise RuntimeError(f"the database gave no id for a row of {table.name}")
    return int(key[0])


def found_or_new(connection: Connection, table: Table, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """The id of the row with this identity, or of a new one with `facts` too. Only within a writing transaction."""
    statement = select(table.c.id).where(*(table.c[name] == value for name, value in identity.items()))
    found = connection.execute(statement).scalar_one_or_none()
    return int(found) if found is not None else new_id(connection, table, {**identity, **facts})
