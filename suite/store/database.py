"""An open database of the right schema version, with transactions whose errors are sentences for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import DBAPIError

from suite.errors import StoreError
from suite.store import schema
from suite.store.dialect import BUSY_TIMEOUT_S, WRITES, explain, forbid_changes, open_engine
from suite.store.upgrade import upgrade

forbid_changes(schema.verdict)
forbid_changes(schema.tag)


class Database:
    """One file and its connections; threads may share it. Raises StoreError for whatever stops it.

    `read_only` makes no file, and changes nothing in one of today's schema.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        if read_only and not path.is_file():
            raise StoreError(f"there is no store at {path}: `suite run` makes one")
        self.path = path
        with self._explained():
            upgrade(path, busy_timeout_s=busy_timeout_s)
        self._engine = open_engine(path, read_only=read_only, busy_timeout_s=busy_timeout_s)
        try:
            self._check_version(may_create=not read_only)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of everything; never waits for a writer."""
        with self._explained(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: on the disk when the block is left, or nothing of it is if the block raises."""
        with self._explained(), self._engine.connect() as connection:
            ready = connection.execution_options(**{WRITES: True})
            with ready.begin():
                yield ready

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            explained = explain(error, self.path)
            if explained is None:
                raise
            raise explained from error

    def _check_version(self, *, may_create: bool) -> None:
        with self.reading() as connection:
            tables = set(inspect(connection).get_table_names())
        if not tables and may_create:
            self._create()
            return
        if schema.schema_version.name not in tables:
            raise StoreError(f"{self.path} is a database of another program ({len(tables)} tables): set SUITE_HOME")
        with self.reading() as connection:
            version = connection.execute(select(schema.schema_version.c.version)).scalar_one_or_none()
        if version != schema.SCHEMA_VERSION:
            raise StoreError(_version_sentence(self.path, version))

    def _create(self) -> None:
        with self.writing() as connection:
            # Another process may have been quicker while this one waited for the lock.
            if not inspect(connection).get_table_names():
                schema.metadata.create_all(connection)
                connection.execute(schema.schema_version.insert().values(version=schema.SCHEMA_VERSION))


def _version_sentence(path: Path, version: int | None) -> str:
    known = schema.SCHEMA_VERSION
    if version is None:
        return f"the store {path} has lost its schema version (this suite writes {known}): restore a copy of it"
    if version > known:
        return f"the store {path} has schema version {version}, this suite knows {known}: update the suite"
    return f"the store {path} has schema version {version}, which no suite ever wrote: restore a copy of it"
