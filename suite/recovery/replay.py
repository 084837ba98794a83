"""Replays the timelines of a journal, each into a store of its own, and merges these stores.

A timeline is replayed row by row, with its ids. Timelines of several stores (one was lost and another one started, or a
copy was restored) have their own ids, so their rows are identified by what names them, and references are renumbered.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Table, Text, UniqueConstraint

from suite.store.journal import (
    FOLDER,
    TABLES,
    column_names,
    journal_files,
    key_columns,
    read_head,
    timeline_folder,
)
from suite.store.schema import SCHEMA_VERSION
from suite.store.store import Store

_TABLES: Mapping[str, Table] = {table.name: table for table in TABLES}
_GOES_ON = frozenset({"device", "run", "measurement", "training_group", "training"})
"""Tables whose rows change after they were added; the later timeline has the newer state."""


@dataclass(frozen=True)
class Transaction:
    """The place of a complete transaction: bytes `start` to `stop` of a file."""

    number: int
    path: Path
    start: int
    stop: int


@dataclass(frozen=True)
class Timeline:
    """A timeline: when it began, what its store contained `before`, and its transactions.

    These include the transactions of the timelines that it follows.
    """

    at: str
    schema: int
    before: Mapping[str, frozenset[str]]
    transactions: Sequence[Transaction]


def timelines(home: Path) -> list[Timeline]:
    """Returns the timelines beside the store of a home, oldest first, starting with a complete one."""
    own = {folder.name: _transactions(folder) for folder in (home / FOLDER).glob("*/")}
    own = {name: found for name, found in own.items() if found}
    # A timeline without a head is taken for a new one, after all others.
    heads = {name: read_head(home / FOLDER / name) or {"schema": SCHEMA_VERSION, "at": "9"} for name in own}
    newest_first = sorted(heads, key=lambda name: str(heads[name].get("at")), reverse=True)
    found: list[Timeline] = []
    for name in newest_first:
        head = heads[name]
        noted = head.get("before")
        before = noted.items() if isinstance(noted, dict) else ()
        texts = {name: frozenset(map(str, of)) for name, of in before if isinstance(of, list)}
        found.append(Timeline(str(head.get("at")), head["schema"], texts, _whole_line(name, heads, own)))
        if head.get("complete") is True:
            break
    return found[::-1]


def _whole_line(
    name: str, heads: Mapping[str, Mapping[str, Any]], own: Mapping[str, Sequence[Transaction]]
) -> list[Transaction]:
    """Returns a timeline's transactions, preceded by those of the timelines that it follows, as far as it does."""
    found, seen = list(own[name]), {name}
    while True:
        follows = heads[name].get("follows")
        if not (isinstance(follows, list) and len(follows) == 2 and all(type(part) is int for part in follows)):
            return found
        name, last = timeline_folder(Path(), follows[0]).name, follows[1]
        if name in seen or name not in heads or heads[name]["schema"] != SCHEMA_VERSION:
            return found
        found = [one for one in own[name] if one.number <= last] + found
        seen.add(name)


def replay(timeline: Timeline, target: Path) -> int:
    """Builds the store `target`, in a folder of its own, from a timeline.

    Returns how many lines were unusable, plus how many transactions are missing among the others.
    """
    Store.open(target).close()
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(
            "PRAGMA recursive_triggers = OFF"
        )  # REPLACE does not count as a change of an append-only row
        connection.execute("BEGIN")
        numbers = [one.number for one in timeline.transactions]
        unusable = sum(later - number - 1 for number, later in pairwise(numbers) if later > number)
        for line in chain.from_iterable(map(_lines, timeline.transactions)):
            try:
                _carry_out(connection, line)
            except (ValueError, TypeError, LookupError, OverflowError, RecursionError, sqlite3.Error):
                unusable += 1
        unusable += _remove_strays(connection)
        connection.execute("COMMIT")
    return unusable


def _transactions(folder: Path) -> list[Transaction]:
    """Returns the complete transactions in order. A repeated number replaces those from there on."""
    found: list[Transaction] = []
    for path in journal_files(folder):
        begun: tuple[int, int] | None = None
        with path.open("rb") as stream:
            position = 0
            for line in stream:
                if line.startswith(b'{"begin": '):
                    begun = (_number(line), position)
                elif line.startswith(b'{"end": ') and begun is not None and _number(line) == begun[0] >= 0:
                    while found and found[-1].number >= begun[0]:
                        found.pop()
                    found.append(Transaction(begun[0], path, begun[1], position))
                    begun = None
                position += len(line)
    return found


def _number(line: bytes) -> int:
    try:
        return int(line.partition(b": ")[2].strip().rstrip(b"}"))
    except ValueError:
        return -1


def runs_of(timeline: Timeline) -> Iterator[str]:
    """Yields the ids of the runs that a timeline has."""
    for line in chain.from_iterable(map(_lines, timeline.transactions)):
        if line.startswith(b'["run", ['):
            with suppress(ValueError, IndexError, TypeError):
                yield str(json.loads(line)[1][0])


def _lines(transaction: Transaction) -> Iterator[bytes]:
    with transaction.path.open("rb") as stream:
        stream.seek(transaction.start)
        while stream.tell() < transaction.stop:
            line = stream.readline()
            if line.startswith(b"["):
                yield line


def _carry_out(connection: sqlite3.Connection, line: bytes) -> None:
    name, values, *rest = json.loads(line)
    table = _TABLES[name]
    if values is None:
        where = " AND ".join(f"{column} = ?" for column in key_columns(table))
        connection.execute(f"DELETE FROM {table.name} WHERE {where}", [_value(value) for value in rest[0]])
        return
    marks = ", ".join("?" for _ in column_names(table))
    connection.execute(f"INSERT OR REPLACE INTO {table.name} VALUES ({marks})", [_value(value) for value in values])


def _value(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


def _remove_strays(connection: sqlite3.Connection) -> int:
    """Removes rows that refer to rows from before the journal. Returns how many."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    count = 0
    while strays := {(row[0], row[1]) for row in connection.execute("PRAGMA foreign_key_check")}:
        for name, row in strays:
            connection.execute(f"DELETE FROM {name} WHERE rowid = ?", (row,))
        count += len(strays)
    for _, statement in triggers:
        connection.execute(statement)
    return count


def merge(source: Path, target: Path) -> None:
    """Adds to the store `target` what the store `source`, of a later timeline, has in addition."""
    with closing(sqlite3.connect(target, isolation_level=None)) as into, closing(sqlite3.connect(source)) as other:
        into.execute("PRAGMA foreign_keys = OFF")
        into.execute("BEGIN")
        ids: dict[tuple[str, Any], Any] = {}
        for table in TABLES:
            names = column_names(table)
            parents = _parents(table)
            for row in other.execute(f"SELECT {_list_columns(names)} FROM {table.name}"):
                values = dict(zip(names, row, strict=True))
                for column, parent in parents.items():
                    values[column] = ids.get((parent, values[column]), values[column])
                _add(into, table, values, ids)
        into.execute("COMMIT")


def _add(into: sqlite3.Connection, table: Table, values: dict[str, Any], ids: dict[tuple[str, Any], Any]) -> None:
    """Adds a row unless it exists, and notes its id."""
    identity = _identity(table)
    where = " AND ".join(f'"{name}" IS ?' for name in identity)
    found = into.execute(
        f"SELECT rowid FROM {table.name} WHERE {where}", [values[name] for name in identity]
    ).fetchone()
    own = values.pop("id") if "id" in values and "id" not in identity else None
    if found is None:
        marks = ", ".join("?" for _ in values)
        statement = f"INSERT INTO {table.name} ({_list_columns(values)}) VALUES ({marks})"
        new = into.execute(statement, list(values.values())).lastrowid
    else:
        (new,) = found
        if table.name in _GOES_ON:
            changes = ", ".join(f'"{name}" = ?' for name in values)
            into.execute(f"UPDATE {table.name} SET {changes} WHERE rowid = ?", [*values.values(), new])
    if own is not None:
        ids[table.name, own] = new


def _list_columns(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _identity(table: Table) -> list[str]:
    """Returns the columns that identify a row in any store: its own key, or what is unique, or all columns."""
    keys = key_columns(table)
    if keys != ["id"] or isinstance(table.c.id.type, Text):
        return keys
    unique = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    if unique:
        return [column.name for column in unique[0].columns]
    return [name for name in column_names(table) if name != "id"]


def _parents(table: Table) -> dict[str, str]:
    """Returns the tables to which the table's columns refer by number."""
    found = {}
    for one in table.constraints:
        if isinstance(one, ForeignKeyConstraint):
            (element,) = one.elements
            found[element.parent.name] = element.column.table.name
    return found
