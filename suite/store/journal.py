"""Writes everything that is committed to a store a second time, so that `suite store rebuild` can rebuild it.

`journal/` has a folder for each timeline of a store, with numbered files of JSON lines. The first line of the first
file is the head: the contents of the store when its journal began. A transaction is

    {"begin": 12}
    ["session", [column, ...]]      a row as it is now, with its columns in the order of schema.py
    ["point", null, [7, 3]]         a removed row, by its primary key
    {"end": 12}

and is on the disk before the store commits it. The store counts its transactions too (SQLite's `user_version`). A
repeated number replaces the transaction that could not be committed; a transaction without its end does not count. If
the counts disagree (a copy of the store was restored, or the journal was removed), a new timeline begins, which follows
the old one from the store's last transaction; `application_id` names it. Triggers of the connection note the rows that
a transaction changes.
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
"""A file that has reached this size is followed by another one."""

_BYTES_AT_ONCE = 1 << 20

TABLES: tuple[Table, ...] = tuple(
    table for table in schema.metadata.sorted_tables if table is not schema.schema_version
)
_REFERRED = (schema.device, schema.artifact, schema.series)
"""Tables whose rows later runs refer to; a head has all of their rows."""
NOTED = (
    *(("run", "id"), ("training", "id"), ("tag", "at"), ("acceptance", "at"), ("annotation", "at")),
    ("finding_note", "at"),
)
"""Tables whose rows a head lists, and the column that tells them apart."""
_END = re.compile(rb'\n\{"end": (\d{1,18})\}\n')


def key_columns(table: Table) -> list[str]:
    """Returns the names of the primary key's columns."""
    return [column.name for column in table.primary_key.columns]


def column_names(table: Table) -> list[str]:
    """Returns the columns in the order of a journal's rows."""
    return [column.name for column in table.columns]


def timeline_folder(store: Path, name: int) -> Path:
    """Returns the folder of a timeline's files."""
    return store.parent / FOLDER / f"{name:08x}"


def journal_files(folder: Path) -> list[Path]:
    """Returns the files of a timeline in the order of their transactions."""
    return sorted(folder.glob("*.jsonl"))


def note_changes(connection: Connection) -> None:
    """Makes the connection note the rows that it changes from now on. Must be called within a transaction."""
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
    """Writes the transaction's changes before it is committed. Raises StoreError if they can't be written."""
    changed = connection.exec_driver_sql("SELECT name, key FROM changed ORDER BY rowid").all()
    if not changed or not store.parent.is_dir():  # without its folder the whole store is saved elsewhere
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
    """Begins a timeline, unless one ends where the store is. Needs a writing transaction. Raises StoreError.

    `complete`: with all rows of the store, so that earlier timelines are no longer needed.
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
    """Returns whether a timeline beside the store ends at the store's last transaction."""
    name, count = _place(connection)
    folder = timeline_folder(store, name)
    with _explained(store):
        head = read_head(folder)
        # The journal may have one more than the store, whose transaction could not be committed.
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
            f"the journal of the store {store} can't be written ({error.strerror}, error {error.errno}); what was "
            f"stored before is kept: make {FOLDER}/ writable or free some space, then use --resume"
        ) from error


def _last(folder: Path) -> int | None:
    """Returns the number of the last complete transaction, 0 before the first, or None if no file can be read."""
    for path in reversed(journal_files(folder)):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 64))
            found = _END.findall(stream.read())
            if not found:  # the last one was interrupted
                stream.seek(0)
                found = _END.findall(stream.read())
        if found:
            return int(found[-1])
    return None


def read_head(folder: Path) -> dict[str, Any] | None:
    """Returns the head of a timeline, or None if it can't be read."""
    try:
        with (folder / _file_name(1)).open("rb") as stream:
            head = json.loads(stream.readline())
    except (OSError, ValueError, RecursionError):
        return None
    return head if isinstance(head, dict) and isinstance(head.get("schema"), int) else None


def _write_head(connection: Connection, folder: Path, *, complete: bool) -> None:
    """Writes the head of a timeline.

    It has the timeline that this one follows, and from where; the ids of runs and times of remarks in the store; and
    the rows that others refer to, or all rows.
    """
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
    # Also starts with a newline, so that an interrupted line before it stays separate.
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
    """Opens a file for appending, and yields a function that writes to it.

    What was written is on the disk when the block ends, or is cut off again if it raises.
    """
    waiting = bytearray()
    # Python's own buffer would keep what could not be written, and write it after the cut when the file is closed.
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
