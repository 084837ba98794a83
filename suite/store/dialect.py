"""Opens the database and writes to it: durably even if its file is removed, with errors as sentences for the user.

Also makes tables append-only, and finds or adds rows. Only this module and journal.py, which notes changes, know of
SQLite.

With a write-ahead log and `synchronous=FULL`, a committed transaction is on the disk (fsync) before `commit` returns,
and readers never wait for a writer. Writers take the lock immediately (`BEGIN IMMEDIATE`), so that two of them queue
instead of failing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    DDL,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    cast,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound
from sqlalchemy.pool import QueuePool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from foundation.errors import listed
from foundation.text import printable
from suite.errors import DamagedStore, StoreError
from suite.store.schema import StoredJson, is_json

BUSY_TIMEOUT_S = 30.0
#: Execution option of a connection that is going to write.
WRITES = "suite_writes"
_IF_BUSY = retry_if_exception(lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY)


def open_engine(path: Path, *, read_only: bool, busy_timeout_s: float, rebuilding: bool = False) -> Engine:
    """Opens an engine on the file at `path`, which is created if it is missing, unless `read_only`.

    `rebuilding`: foreign keys are not checked, and still name a table after it was renamed [sqlite.org, ALTER TABLE].
    """
    address = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}"
    if read_only and _is_frozen(path):
        address += "&immutable=1"  # without it, SQLite would create its log files beside the store

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        try:
            _configure(connection, read_only=read_only, busy_timeout_s=busy_timeout_s)
            if rebuilding:
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute("PRAGMA legacy_alter_table = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # No connection string, as a path may contain any character. No limit of overflow, as each device has its thread.
    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, max_overflow=-1)
    event.listen(engine, "begin", _begin)
    return engine


def _is_frozen(path: Path) -> bool:
    """Returns whether the store is complete (without a log beside it) on a file system that is mounted read-only."""
    log = Path(f"{path}-wal")
    try:
        complete = not log.exists() or log.stat().st_size == 0
        return complete and bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _configure(connection: sqlite3.Connection, *, read_only: bool, busy_timeout_s: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    # Without this, REPLACE would delete rows of an append-only table silently.
    connection.execute("PRAGMA recursive_triggers = ON")
    if not read_only:
        # SQLite's own timeout doesn't cover this: two processes that open a new store at once would each want it alone.
        retrying = Retrying(retry=_IF_BUSY, stop=stop_after_delay(busy_timeout_s), wait=wait_fixed(0.02), reraise=True)
        retrying(connection.execute, "PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class OpenFile:
    """The file of an open store, kept open by its own connection so that it outlives its name.

    If somebody removes or replaces the store during a run, SQLite continues in a file without a name, whose contents
    would be lost with the process. This class saves them. Writers of one process take turns.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self.path = path
        self._engine = engine
        self._turn = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._connection = self._engine.connect()
        self._identity, self._logs = _identity(self.path), self._found_logs()

    def _found_logs(self) -> dict[Path, tuple[int, int] | None]:
        logs = (self.path.with_name(self.path.name + ending) for ending in ("-wal", "-shm"))
        return {log: _identity(log) for log in logs}

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Connects to the file for the block. If the file lost its name, saves it and raises StoreError afterwards."""
        with self._turn:
            with self.connect() as connection:
                yield connection
            if not self._is_named():
                raise self._save()
            self._logs = self._found_logs()

    def connect(self) -> AbstractContextManager[Connection]:
        """Connects to the file for a block, which may run in another thread while the file has its name."""
        # A new connection would open, or create, whatever the path names now.
        return self._engine.connect() if self._is_named() else nullcontext(self._connection)

    def close(self) -> None:
        """Closes the connection. May be called twice."""
        self._connection.close()

    def _is_named(self) -> bool:
        return _identity(self.path) == self._identity

    def _save(self) -> StoreError:
        """Saves the contents under a name again. Returns an error that explains what happened."""
        gone = not self.path.exists()
        for log, identity in self._found_logs().items():
            if identity == self._logs[log]:
                log.unlink(missing_ok=True)  # SQLite would take it for the log of the file with that name now
        try:
            if gone:
                self._copy_to(self.path)
                self.close()
                self._engine.dispose()
                self._open()
                return StoreError(
                    f"the store {self.path} was removed while it was in use; all its contents were written to it "
                    "again: find out what removes it, then use --resume"
                )
            aside = self.path.with_name(f"{self.path.stem}-kept-{os.getpid()}{self.path.suffix}")
            self._copy_to(aside)
        except OSError:  # its folder is gone too, or its disk is full
            try:
                aside = Path(tempfile.mkdtemp(prefix="suite-store-")) / self.path.name
                self._copy_to(aside)
            except OSError as error:
                return StoreError(
                    f"the store {self.path} was removed or replaced while it was in use and could not be saved "
                    f"({error}): the raw output of each session is in runs/"
                )
        return StoreError(
            f"the store {self.path} was {'removed' if gone else 'replaced'} while it was in use; all its contents "
            f"are in {aside} now: move that file to its place, then use --resume"
        )

    def _copy_to(self, target: Path) -> None:
        """Writes a copy atomically. Raises OSError."""
        new = target.with_name(f"{target.name}.new")
        driver: Any = self._connection.connection.driver_connection
        try:
            new.unlink(missing_ok=True)  # left by a killed process
            driver.execute("VACUUM INTO ?", (str(new),))
        except sqlite3.Error as error:
            new.unlink(missing_ok=True)
            raise OSError(str(error)) from error
        new.replace(target)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def forbid_changes(table: Table) -> None:
    """Makes `table` append-only when it is created, so that the database itself refuses UPDATE and DELETE."""
    for verb in ("UPDATE", "DELETE"):
        trigger = DDL(_refusal(table, verb))  # type: ignore[no-untyped-call]  # SQLAlchemy leaves this untyped
        event.listen(table, "after_create", trigger.execute_if(dialect="sqlite"))


@contextmanager
def changeable(connection: Connection, table: Table) -> Iterator[None]:
    """Allows an upgrade to change rows of an append-only table during the block."""
    connection.exec_driver_sql(f"DROP TRIGGER {table.name}_no_update")
    yield
    connection.exec_driver_sql(_refusal(table, "UPDATE"))


def _refusal(table: Table, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
        f"BEGIN SELECT RAISE(ABORT, '{table.name} rows are append-only'); END"
    )


def explain_damage(engine: Engine, metadata: MetaData, path: Path) -> DamagedStore:
    """Explains which rows have text that should be JSON but is not."""
    with engine.connect() as connection, connection.begin():
        found = damaged_rows(connection, metadata)
    return DamagedStore(
        f"the store {path} is damaged: {'; '.join(found) or 'a value'} is no longer JSON, but all other rows can "
        f"be read: {_restoring()}"
    )


def damaged_rows(connection: Connection, metadata: MetaData) -> list[str]:
    """Returns the columns, each with its rows, whose text should be JSON but is not."""
    found: list[str] = []
    for table in metadata.sorted_tables:
        (key, *_) = table.primary_key.columns
        for column in (one for one in table.columns if isinstance(one.type, StoredJson)):
            rows = connection.execute(select(key, cast(column, Text))).all()
            odd = [str(name) for name, text in rows if text is not None and not is_json(text)]
            if odd:
                found.append(f"{table.name}.{column.name} of {listed(odd)}")
    return found


def _restoring() -> str:
    return (
        "run `suite store rebuild`, which rebuilds it from journal/, or restore a copy; the raw output of each session "
        "is still in runs/"
    )


def empty_store(path: Path) -> DamagedStore:
    """Returns the error for a store without any tables."""
    return DamagedStore(f"the store {path} is empty: {_restoring()}")


def missing_tables(missing: Collection[str], path: Path) -> DamagedStore:
    """Returns the error for a store that lacks some of its tables."""
    return DamagedStore(
        f"the store {path} is damaged: it has lost {len(missing)} of its tables ({listed(sorted(missing))}), but the "
        f"others still have their rows: {_restoring()}"
    )


def wrong_version(versions: Sequence[int], known: int, path: Path) -> StoreError:
    """Returns the error for a store whose schema versions are not the `known` one."""
    if len(versions) > 1:
        found = listed(map(str, versions))
        return DamagedStore(
            f"the store {path} has {len(versions)} schema versions ({found}) instead of one: {_restoring()}"
        )
    version = next(iter(versions), None)
    if version is None:
        return DamagedStore(f"the store {path} has lost its schema version (this suite writes {known}): {_restoring()}")
    if version > known:
        return StoreError(
            f"the store {path} has schema version {version}, but this suite knows {known}: update the suite"
        )
    return DamagedStore(f"the store {path} has schema version {version}, which no suite ever wrote: {_restoring()}")


_DAMAGE = (
    "no such table", "no such column", "malformed", "unsupported file format", "foreign key mismatch",
    "Could not decode to UTF-8",
)  # fmt: skip
"""The start of SQLite's messages that only a damaged file causes."""


UNREADABLE = (DBAPIError, UnicodeDecodeError, NoResultFound, MultipleResultsFound)
"""What a damaged database raises; the last two occur if an index and its table differ."""


def explain(error: Exception, path: Path) -> StoreError | None:
    """Explains one of UNREADABLE to the user in one sentence. Returns None if it is our own mistake."""
    if isinstance(error, NoResultFound | MultipleResultsFound):
        return DamagedStore(
            f"the store {path} is damaged (a row that it refers to is missing or not unique): {_restoring()}"
        )
    if isinstance(error, UnicodeDecodeError):  # SQLite quotes what it can't read, which Python can't read either
        return DamagedStore(f"the store {path} is damaged (its schema is not UTF-8): {_restoring()}")
    original: Any = getattr(error, "orig", error)
    name = getattr(original, "sqlite_errorname", None)
    words = str(original)
    if words.startswith(_DAMAGE):
        words = printable(words, 120)
        return DamagedStore(f"the store {path} is damaged ({words}), but the rest can be read: {_restoring()}")
    if not isinstance(name, str):
        return None
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")):
        return DamagedStore(f"the store {path} is damaged or not an SQLite file ({name}): {_restoring()}")
    sentence = _sentence(name, path)
    if sentence is None and name.startswith("SQLITE_CONSTRAINT"):
        sentence = f"the store {path} refused a change ({original}); its contents are unchanged"
    return StoreError(sentence) if sentence is not None else None


def _sentence(name: str, path: Path) -> str | None:
    kept = "what was stored before is kept"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"the store {path} is in use by another process for too long ({name}): let it finish, then run again"
    if name.startswith("SQLITE_FULL"):
        return f"the disk of the store {path} is full ({_free(path)}), {kept}: free some space, then use --resume"
    if name.startswith("SQLITE_READONLY"):
        return f"the store {path} is read-only ({name}): make the file and its folder writable, or set SUITE_HOME"
    if name.startswith("SQLITE_IOERR"):
        return f"the disk failed under the store {path} ({name}, {_free(path)}), {kept}: check it, then use --resume"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"the store {path} cannot be opened ({name}): check that its folder exists and is writable"
    return None


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free // 1024} KiB free"
    except OSError:
        return "free space unknown"


#: A row of a result, by column name.
Row = Mapping[Any, Any]
#: A value that a column takes.
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
    """Returns the id of the row with this identity, or of a new one with `facts`. Needs a writing transaction."""
    statement = select(table.c.id).where(*(table.c[name] == value for name, value in identity.items()))
    found = connection.execute(statement).scalar_one_or_none()
    return int(found) if found is not None else new_id(connection, table, {**identity, **facts})
