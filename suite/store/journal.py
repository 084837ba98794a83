"""Everything that is committed to a store, written a second time beside it, so that `suite store rebuild` can make a
store that is damaged or gone again, row for row.

`journal/` has a folder for each timeline of a store, with numbered files of JSON lines. The first line of the first
file is the head: what the store held when its journal began. A transaction is

    {"begin": 12}
    ["session", [column, ...]]      a row as it is now, its columns in the order of schema.py
    ["point", null, [7, 3]]         a row that is gone, by its primary key
    {"end": 12}

and is on the disk before the store commits it. The store counts its transactions, too (SQLite's `user_version`): a
number that comes again replaces the transaction that failed to be committed, a transaction without its end never was
one. Where the counts disagree (a copy of the store was restored, the journal was removed), a new timeline begins, which
follows the old one from where the store is; `application_id` names it. Triggers of the connection note which rows a
transaction changed.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table

from suite.errors import StoreError
from suite.store import schema
from suite.store.identity import timestamp

FOLDER = "journal"
FILE_BYTES = 16 << 20
"""A file that has grown so large is followed by another one."""

_BYTES_AT_ONCE = 1 << 20

TABLES: tuple[Table, ...] = tuple(
    table for table in schema.metadata.sorted_tables if table is not schema.schema_version
)
_REFERRED = (schema.device, schema.artifact, schema.series)
"""Rows that later ones of other runs refer to: a head has all of them."""
NOTED = (
    *(("run", "id"), ("training", "id"), ("tag", "at"), ("acceptance", "at"), ("annotation", "at")),
    ("finding_note", "at"),
)
"""Tables whose rows a head counts, and the column that tells them apart."""
_END = re.compile(rb'\n\{"end": (\d{1,18})\}\n')


def key_columns(table: Table) -> list[str]:
    """Returns the names of the primary key's columns."""
    return [column.name for column in table.primary_key.columns]


def column_names(table: Table) -> list[str]:
    """Returns the columns in the order that rows of a journal have."""
    return [column.name for column in table.columns]


def timeline_folder(store: Path, name: int) -> Path:
    """Returns the folder of a timeline's files."""
    return store.parent / FOLDER / f"{name:08x}"


def journal_files(folder: Path) -> list[Path]:
    """Returns the files of a timeline in the order of their transactions."""
    return sorted(folder.glob("*.jsonl"))


def note_changes(connection: Connection) -> None:
    """Makes the connection note the rows that it changes from now on. Within a transaction."""
    if connection.exec_driver_sql("SELECT 1 FROM sqlite_temp_master WHERE name = 'changed'").first() is not None:
        return
    connection.exec_driver_sql(
        "CREATE TEMP TABLE changed (name TEXT, key TEXT, UNIQUE (name, key) ON CONFLICT IGNORE) STRICT"
    )
    for table in TABLES:
        for verb, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            key = ", ".join(f"{row}.{name}" for name in key_columns(table))
            connection.exec_driver_sql(
                f"CREATE TEMP TRIGGER {table.name}_{verb.lower()}_noted AFTER {verb} ON main.{table.name} "
                f"BEGIN INSERT INTO changed VALUES ('{table.name}', json_array({key})); END"
            )


def write_changes(connection: Connection, store: Path) -> None:
    """Writes what the transaction changed, before it is committed. Raises StoreError if the disk can't take it."""
    changed = connection.exec_driver_sql("SELECT name, key FROM changed ORDER BY rowid").all()
    if not changed or not store.parent.is_dir():  # without its folder the store is saved elsewhere, with all it holds
        return
    connection.exec_driver_sql("DELETE FROM changed")
    begin_timeline(connection, store)
    name, count = _place(connection)
    with _explained(store), _appending(_current(timeline_folder(store, name))) as write:
        write(_line({"begin": count + 1}))
        for table, key in changed:
            write(_line(_change(connection, schema.metadata.tables[table], json.loads(key))))
        write(_line({"end": count + 1}))
    connection.exec_driver_sql(f"PRAGMA user_version = {count + 1}")


def begin_timeline(connection: Connection, store: Path, *, complete: bool = False) -> None:
    """Begins a timeline, if none goes on where the store is. Within a transaction that writes. Raises StoreError.

    `complete`: with all rows of the store, so that no earlier timeline is needed any more.
    """
    if is_kept(connection, store):
        return
    name = secrets.randbelow(2**31 - 1) + 1
    while (folder := timeline_folder(store, name)).exists():
        name = secrets.randbelow(2**31 - 1) + 1
    with _explained(store):
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        try:
            _write_head(connection, folder, complete=complete)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    connection.exec_driver_sql(f"PRAGMA application_id = {name}")
    connection.exec_driver_sql("PRAGMA user_version = 0")


def is_kept(connection: Connection, store: Path) -> bool:
    """Whether a timeline beside the store ends where the store is."""
    name, count = _place(connection)
    folder = timeline_folder(store, name)
    with _explained(store):
        head = read_head(folder)
        # One more than the store has: that transaction could not be committed.
        return head is not None and head["schema"] == schema.SCHEMA_VERSION and _last(folder) in (count, count + 1)


def _place(connection: Connection) -> tuple[int, int]:
    """Returns the name of the store's timeline and the number of its last transaction."""
    name, count = (
        connection.exec_driver_sql(f"PRAGMA {what}").scalar_one() for what in ("application_id", "user_version")
    )
    return name & 0x7FFFFFFF, count


@contextmanager
def _explained(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the journal of the store {store} can't be written ({error.strerror}, error {error.errno}), what was "
            f"stored before is kept: make {FOLDER}/ writable or free some space, then use --resume"
        ) from error


def _last(folder: Path) -> int | None:
    """Returns the number of the last whole transaction, 0 before the first, None without any file that has one."""
    for path in reversed(journal_files(folder)):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 64))
            found = _END.findall(stream.read())
            if not found:  # the last one was broken off
                stream.seek(0)
                found = _END.findall(stream.read())
        if found:
            return int(found[-1])
    return None


def read_head(folder: Path) -> dict[str, Any] | None:
    """Returns the head of a timeline, None if there is none that can be read."""
    try:
        with (folder / _file_name(1)).open("rb") as stream:
            head = json.loads(stream.readline())
    except (OSError, ValueError, RecursionError):
        return None
    return head if isinstance(head, dict) and isinstance(head.get("schema"), int) else None


def _write_head(connection: Connection, folder: Path, *, complete: bool) -> None:
    """Writes which timeline it follows, and from where; what the store holds that is in none: ids of its runs, when
    remarks were made; and the rows that others refer to, or all."""
    before: dict[str, list[str]] = {}
    for name, column in () if complete else NOTED:
        found = connection.exec_driver_sql(f"SELECT {column} FROM {name} ORDER BY {column}").scalars()
        before[name] = [str(text) for text in found]
    head = {
        "schema": schema.SCHEMA_VERSION,
        "at": timestamp(),
        "follows": None if complete else _place(connection),
        "complete": complete,
        "before": before,
    }
    with _appending(folder / _file_name(1)) as write:
        write(_line(head).lstrip())
        write(_line({"begin": 0}))
        for table in TABLES if complete else _REFERRED:
            for row in connection.exec_driver_sql(_selection(table)):
                write(_line([table.name, [_plain(value) for value in row]]))
        write(_line({"end": 0}))


def _change(connection: Connection, table: Table, key: list[Any]) -> list[Any]:
    where = " AND ".join(f"{name} = ?" for name in key_columns(table))
    row = connection.exec_driver_sql(f"{_selection(table)} WHERE {where}", tuple(key)).first()
    return [table.name, None, key] if row is None else [table.name, [_plain(value) for value in row]]


def _selection(table: Table) -> str:
    columns = ", ".join(f'"{name}"' for name in column_names(table))
    return f"SELECT {columns} FROM main.{table.name}"


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _line(document: Any) -> bytes:
    # Begins a line, too: whatever was broken off before it is a line of its own then.
    return b"\n" + json.dumps(document).encode() + b"\n"


def _file_name(number: int) -> str:
    return f"{number:06d}.jsonl"


def _current(folder: Path) -> Path:
    files = journal_files(folder)
    if files and files[-1].stat().st_size < FILE_BYTES:
        return files[-1]
    return folder / _file_name(len(files) + 1)


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Opens a file to append to it in one piece what the function that it yields is given: on the disk when the block
    ends, or cut off again.
    """
    waiting = bytearray()
    # Python's own buffer keeps what the disk did not take, and writes it when the file is closed: behind the cut.
    with path.open("ab", buffering=0) as file:

        def write(line: bytes, at_least: int = _BYTES_AT_ONCE) -> None:
            waiting.extend(line)
            while len(waiting) >= at_least:
                del waiting[: file.write(waiting)]

        size = file.tell()
        try:
            yield write
            write(b"", at_least=1)
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise
