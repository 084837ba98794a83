"""Stores and reads the tags, remarks and accepted levels of a run.

Tags are append-only; the newest row of a name counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from suite.store import schema
from suite.store.identity import checked_tag, timestamp
from suite.store.store import Store


@dataclass(frozen=True)
class Tag:
    """A name and the run that it stands for, with author and time (ISO 8601, UTC)."""

    name: str
    run_id: str
    at: str
    author: str


def current_tags(connection: Connection) -> dict[str, Tag]:
    """Returns every tag by name, newest last."""
    table = schema.tag
    newest: dict[str, Tag] = {}
    for row in connection.execute(select(table).order_by(table.c.id)):
        newest.pop(row.name, None)
        if row.run_id is not None:
            newest[row.name] = Tag(row.name, row.run_id, row.at, row.author)
    return newest


def tags_by_run(connection: Connection) -> dict[str, list[str]]:
    """Returns the tags of each run that has any."""
    found: dict[str, list[str]] = {}
    for tag in current_tags(connection).values():
        found.setdefault(tag.run_id, []).append(tag.name)
    return found


def tag_list(store: Store) -> list[Tag]:
    """Returns every tag, newest first."""
    with store.database.reading() as connection:
        return list(current_tags(connection).values())[::-1]


def require_free(store: Store, name: str) -> None:
    """Raises UserError if the name is not a valid tag, or is already the tag of a run."""
    checked_tag(name)
    with store.database.reading() as connection:
        known = current_tags(connection).get(name)
    if known is not None:
        raise _in_use(known)


def tag_run(store: Store, name: str, run_id: str, author: str, *, move: bool = False) -> bool:
    """Tags the run with `name`. Returns False if it already has it.

    Raises UserError if another run has it, unless `move`.
    """
    checked_tag(name)
    with store.database.writing() as connection:
        known = current_tags(connection).get(name)
        if known is not None and known.run_id == run_id:
            return False
        if known is not None and not move:
            raise _in_use(known)
        _append(connection, {"name": name, "run_id": run_id, "author": author})
    return True


def take_away(store: Store, name: str, author: str) -> Tag:
    """Deletes and returns the tag, whose history stays stored. Raises UserError for an unknown tag."""
    with store.database.writing() as connection:
        tags = current_tags(connection)
        if name not in tags:
            raise unknown_name("tag", printable(name, 80), tags, beginning="there is no")
        _append(connection, {"name": name, "run_id": None, "author": author})
    return tags[name]


def _append(connection: Connection, row: Mapping[str, str | None]) -> None:
    connection.execute(insert(schema.tag).values(at=timestamp(), **row))


def _in_use(known: Tag) -> UserError:
    return UserError(
        f"tag {known.name} is run {known.run_id}, by {known.author} at {known.at}: choose another name, or move it to "
        f"another run by `suite tag {known.name} RUN --move`"
    )


_MOST_NAMED = 3


def remarks_of_run(connection: Connection, run_id: str) -> list[dict[str, str]]:
    """Returns the remarks on a run for its document, annotations first."""
    note = schema.annotation
    notes = select(note.c.at, note.c.author, note.c.text).where(note.c.run_id == run_id).order_by(note.c.id)
    found = [
        {"kind": "annotation", "at": at, "author": author, "text": text, "about": ""}
        for at, author, text in connection.execute(notes)
    ]
    return found + _accepted(connection, run_id)


def newest_remarks(connection: Connection) -> Mapping[str, tuple[int, ...]]:
    """Returns for each run what changes with every new remark on it."""
    note, accepted, measurement = schema.annotation, schema.acceptance, schema.measurement
    notes = select(note.c.run_id, func.max(note.c.id)).where(note.c.run_id.is_not(None)).group_by(note.c.run_id)
    levels = (
        select(measurement.c.run_id, func.max(accepted.c.id))
        .select_from(accepted.join(measurement))
        .group_by(measurement.c.run_id)
    )
    found: dict[str, list[int]] = {}
    for place, statement in enumerate((notes, levels)):
        for run_id, newest in connection.execute(statement):
            found.setdefault(run_id, [0, 0])[place] = newest
    return {run_id: tuple(ids) for run_id, ids in found.items()}


def _accepted(connection: Connection, run_id: str) -> list[dict[str, str]]:
    """Returns one remark for all series that the same person accepted for the same reason."""
    accepted, measurement, series = schema.acceptance, schema.measurement, schema.series
    statement = (
        select(accepted, series.c.device_name, series.c.workload_key, series.c.metric)
        .select_from(accepted.join(measurement).join(series, series.c.id == accepted.c.series_id))
        .where(measurement.c.run_id == run_id)
        .order_by(accepted.c.id)
    )
    together: dict[tuple[str, str], list[str]] = {}
    at: dict[tuple[str, str], str] = {}
    for row in connection.execute(statement):
        reason = (row.author, row.why)
        at.setdefault(reason, row.at)
        together.setdefault(reason, []).append(f"{row.device_name} {row.workload_key} {row.metric}")
    return [
        {"kind": "accepted", "at": at[reason], "author": reason[0], "text": reason[1], "about": _name_series(names)}
        for reason, names in together.items()
    ]


def _name_series(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - _MOST_NAMED
    return ", ".join(every[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
