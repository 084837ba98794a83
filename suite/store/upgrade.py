"""Bringing a store of an older schema up to date: in one transaction, so that it is the old one or the new one.

Tables whose definition changed are made anew and filled from their old rows; what a column that is new holds for an old
row stands here. Any command does it, those that only read too, but none under a run that an earlier suite still writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, MetaData, Table, insert, inspect, literal, null, select, text, update

from suite.errors import StoreError
from suite.home import Home
from suite.retention.in_use import alone, in_use
from suite.store import schema
from suite.store.dialect import WRITES, open_engine

#: Version that an upgrade starts from -> the tables that changed -> new column -> its value in old rows.
_CHANGES: Mapping[int, Mapping[str, Mapping[str, str | None]]] = MappingProxyType(
    {
        1: {"run": {"purpose": "run"}, "measurement": {"role": "measured", "runner_hash": None}},
        2: {"run": {}},  # a purpose more
        3: {},  # a table more: tag
    }
)


def upgrade(path: Path, *, busy_timeout_s: float) -> None:
    """Brings the store at `path` to this suite's schema; nothing happens to any other file, or to one of today.

    StoreError where the file can't be written or a run is under way; sqlalchemy's DBAPIError for what SQLite refuses.
    """
    found = _version_of(path, busy_timeout_s)
    if found not in _CHANGES:
        return
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise StoreError(
            f"the store {path} has schema version {found}, this suite needs {schema.SCHEMA_VERSION} and cannot bring "
            "it up to date, since the file or its folder is read-only: make them writable, or set SUITE_HOME to a copy"
        )
    home = Home(path.parent)
    with alone(home) as free:
        if free:
            _carry_out(path, busy_timeout_s)
            return
    with in_use(home):  # waits for an upgrade by another process, or for `suite gc`; a run lets it pass
        left = _version_of(path, busy_timeout_s)
    if left in _CHANGES:
        raise StoreError(
            f"the store {path} has schema version {left}, this suite needs {schema.SCHEMA_VERSION}, and a run of the "
            "earlier suite is still writing to it: let that run finish, then try again"
        )


def _carry_out(path: Path, busy_timeout_s: float) -> None:
    engine = open_engine(path, read_only=False, busy_timeout_s=busy_timeout_s, rebuilding=True)
    try:
        with engine.connect() as connection:
            ready = connection.execution_options(**{WRITES: True})
            with ready.begin():
                # Another process may have been quicker while this one waited for the lock.
                while (version := _version(ready)) in _CHANGES:
                    _rebuild(ready, _CHANGES[version])
                    ready.execute(update(schema.schema_version).values(version=version + 1))
    finally:
        engine.dispose()


def _version_of(path: Path, busy_timeout_s: float) -> int:
    """The version of the store at `path`; 0 for no store of ours."""
    if not path.is_file() or path.stat().st_size == 0:
        return 0
    engine = open_engine(path, read_only=True, busy_timeout_s=busy_timeout_s)
    try:
        with engine.connect() as connection, connection.begin():
            return _version(connection)
    finally:
        engine.dispose()


def _version(connection: Connection) -> int:
    """The version of a store of ours; 0 for any other database."""
    if not inspect(connection).has_table(schema.schema_version.name):
        return 0
    return connection.execute(select(schema.schema_version.c.version)).scalar_one_or_none() or 0


def _rebuild(connection: Connection, changes: Mapping[str, Mapping[str, str | None]]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for name in changes:
        for index in inspect(connection).get_indexes(name):
            connection.execute(text(f"DROP INDEX {quote(str(index['name']))}"))
        connection.execute(text(f"ALTER TABLE {quote(name)} RENAME TO {quote(_old(name))}"))
    schema.metadata.create_all(connection)
    for name, added in changes.items():
        _refill(connection, schema.metadata.tables[name], added)


def _refill(connection: Connection, table: Table, added: Mapping[str, str | None]) -> None:
    old = Table(_old(table.name), MetaData(), autoload_with=connection, resolve_fks=False)
    values = [
        (literal(added[column.name]) if added[column.name] is not None else null())
        if column.name in added
        else old.c[column.name]
        for column in table.columns
    ]
    connection.execute(insert(table).from_select([column.name for column in table.columns], select(*values)))
    old.drop(connection)


def _old(name: str) -> str:
    return f"old_{name}"
