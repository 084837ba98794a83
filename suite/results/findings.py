"""Reads findings from the store, with people's notes on them, and turns them into rows of tables.

The store has a row for each night in which a finding was seen or looked for. A finding has boards and settings instead
of one measurement, so its rows are read by runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, insert, select

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from reports.model.findings import Estimate, Finding, Note, State, in_reading_order
from reports.text.numbers import sort_key
from suite.results import tables
from suite.results.tables import Cell, Chunk, Selection, cells, split_rows
from suite.store import schema
from suite.store.identity import timestamp
from suite.store.points import accepted_points
from suite.store.store import Store

_DISPLAYED = ("seen", "unseen", "fixed")


def findings_of_night(connection: Connection, run_id: str) -> list[Finding]:
    """Returns the findings of a night in reading order, with people's notes on them."""
    return findings_of_nights(connection, [run_id]).get(run_id, [])


def findings_of_nights(connection: Connection, run_ids: Collection[str]) -> dict[str, list[Finding]]:
    """Returns the findings of several nights; nights without any are left out."""
    table, run = schema.finding, schema.run
    chosen = select(table, run.c.started_at).select_from(table.join(run, run.c.id == table.c.run_id))
    chosen = chosen.where(table.c.run_id.in_(list(run_ids)), table.c.state.in_(_DISPLAYED)).order_by(table.c.id)
    rows = connection.execute(chosen).all()
    accepted = {(series, str(measurement)) for series, measurement in connection.execute(accepted_points())}
    notes = _Notes.read(connection)
    found: dict[str, list[Finding]] = {}
    for row in rows:
        stored = Finding.from_document(json.loads(row.document))
        if stored is None:  # the store is damaged, but the verdicts are still there
            continue
        one = _as_of(stored, row.state, accepted)
        one = replace(one, notes=notes.of(one), muted=notes.why_muted(one, row.started_at))
        found.setdefault(row.run_id, []).append(one)
    return {run_id: in_reading_order(own) for run_id, own in found.items()}


def newest_by_night(connection: Connection) -> dict[str, tuple[int, int]]:
    """Returns for each night what changes with its findings and the notes on them, for the stamp of its page."""
    table, note = schema.finding, schema.finding_note
    noted = table.outerjoin(note, (note.c.finding == table.c.key) | note.c.device.is_not(None))
    newest = select(table.c.run_id, func.max(table.c.id), func.coalesce(func.max(note.c.id), 0)).select_from(noted)
    rows = connection.execute(newest.group_by(table.c.run_id))
    return {run_id: (int(found), int(last)) for run_id, found, last in rows}


def _as_of(found: Finding, state: str, accepted: Collection[tuple[int, str]]) -> Finding:
    """Returns a finding in the state that follows from its row and later acceptances."""
    series = {(member.series_id, member.measurement_id) for member in found.members}
    count = len(series & set(accepted)) if found.category == "regressed" else 0
    now: State = "fixed" if state == "fixed" else found.state
    now = "accepted" if count and count == len(series) and state != "fixed" else now
    return replace(found, state=now, seen=state != "unseen", accepted_series=count)


@dataclass(frozen=True)
class Mute:
    """A mute of a finding, or of all that concern one device alone. Times are ISO 8601, empty if open."""

    finding: str
    device: str
    at: str
    author: str
    why: str
    since: str
    until: str

    @property
    def target(self) -> str:
        """The muted finding or device."""
        return self.finding or self.device

    def covers(self, found: Finding, at: str) -> bool:
        """Returns whether a finding of a night that started at that time is muted."""
        begun = not self.since or sort_key(self.since) <= sort_key(at)
        over = bool(self.until) and sort_key(at) >= sort_key(self.until)
        about = found.id == self.finding if self.finding else set(found.devices) == {self.device}
        return about and begun and not over


@dataclass(frozen=True)
class _Notes:
    by_finding: Mapping[str, Sequence[Note]]
    mutes: Sequence[Mute]

    @classmethod
    def read(cls, connection: Connection) -> _Notes:
        notes: dict[str, list[Note]] = {}
        muted: dict[tuple[str, str], Mute] = {}
        for row in connection.execute(select(schema.finding_note).order_by(schema.finding_note.c.id)):
            target = (row.finding or "", row.device or "")
            if row.kind == "mute":
                muted[target] = Mute(*target, row.at, row.author, row.text, row.since or "", row.until or "")
            elif row.kind == "unmute":
                muted.pop(target, None)
            else:
                notes.setdefault(target[0], []).append(Note(row.kind, row.at, row.author, row.text))
        return cls(notes, list(muted.values()))

    def of(self, found: Finding) -> tuple[Note, ...]:
        return tuple(self.by_finding.get(found.id, ()))

    def why_muted(self, found: Finding, at: str) -> str:
        own = next((mute for mute in self.mutes if mute.covers(found, at)), None)
        return "" if own is None else f"muted by {own.author}: {own.why}"


def mutes(store: Store) -> list[Mute]:
    """Returns all mutes, oldest first, including past ones."""
    with store.database.reading() as connection:
        return list(_Notes.read(connection).mutes)


_KEY = re.compile(r"f-[0-9a-f]{6}", re.IGNORECASE)


def is_finding(text: str) -> bool:
    """Returns whether a typed text has the form of a finding's name."""
    return _KEY.fullmatch(text) is not None


def find_finding(store: Store, name: str) -> str:
    """Returns the key of a finding, ignoring case. Raises UserError for an unknown one."""
    with store.database.reading() as connection:
        known = [str(key) for key in connection.execute(select(schema.finding.c.key).distinct()).scalars()]
    found = next((key for key in known if key.casefold() == name.casefold()), None)
    if found is None:
        raise unknown_name("finding", printable(name, 80), known, beginning="there is no")
    return found


def add_note(
    store: Store,
    kind: str,
    author: str,
    text: str,
    *,
    finding: str | None = None,
    device: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> None:
    """Adds a note, a link, a mute or the end of a mute to a finding; mutes also to a device."""
    row = {"kind": kind, "author": author, "text": text, "finding": finding, "device": device}
    with store.database.writing() as connection:
        connection.execute(insert(schema.finding_note).values(at=timestamp(), since=since, until=until, **row))


def require_muted(store: Store, target: str) -> Mute:
    """Returns the mute of a finding or device. Raises UserError if there is none."""
    known = {mute.target: mute for mute in mutes(store)}
    if target not in known:
        raise UserError(f"{printable(target, 80)} is not muted: `suite mute` lists what is.")
    return known[target]


_NIGHTS_AT_ONCE = 100
_BETWEEN, _BETWEEN_SENTENCES = ", ", "; "


def finding_chunks(connection: Connection, run_ids: Collection[str] | None) -> Iterator[Chunk]:
    """Yields the findings of runs (None for all) by run, those of a night in reading order."""
    run, finding = schema.run, schema.finding
    statement = select(run.c.id, run.c.started_at).where(run.c.id.in_(select(finding.c.run_id)))
    if run_ids is not None:
        statement = statement.where(run.c.id.in_(list(run_ids)))
    nights = [(row.id, row.started_at) for row in connection.execute(statement.order_by(run.c.id))]
    for begin in range(0, len(nights), _NIGHTS_AT_ONCE):
        some = nights[begin : begin + _NIGHTS_AT_ONCE]
        found = findings_of_nights(connection, [run_id for run_id, _ in some])
        rows = [(run_id, at, *_finding_cells(one)) for run_id, at in some for one in found.get(run_id, ())]
        yield split_rows(tables.FINDINGS, rows)


def _finding_cells(one: Finding) -> tuple[Cell, ...]:
    size = next((size for size in one.sizes if size.metric == one.metric), None)
    sure = one.confirmation
    return (
        *(one.id, one.category, one.state, one.seen, one.level, one.metric, one.side),
        _BETWEEN.join(one.settings),
        _BETWEEN_SENTENCES.join(one.workloads),  # their names contain commas
        _BETWEEN.join(one.devices),
        *(len(one.devices), sum(part.of for part in one.where)),
        *_ratio_cells(None if size is None else size.least),
        *_ratio_cells(None if size is None else size.most),
        *(one.since_at, one.nights, sure.pairs or None, sure.p, sure.q),
        one.headline.replace("\u00a0", " "),
        _BETWEEN_SENTENCES.join(difference.words for difference in one.differences),
        _BETWEEN_SENTENCES.join(f"{note.kind} by {note.author}: {note.text}" for note in one.notes),
        one.muted,
    )


def _ratio_cells(found: Estimate | None) -> tuple[Cell, ...]:
    return (None, None, None) if found is None else (found.ratio, found.low, found.high)


def findings_about(chunk: Chunk, selection: Selection, run_ids: Collection[str] | None = None) -> Chunk:
    """Returns the rows of a chunk that concern a selection: on its devices, and about its settings or all settings.

    `run_ids`: the selected runs; None for all in the chunk.
    """
    columns = (cells(chunk, name) for name in ("run_id", "at", "devices", "settings"))
    kept = [
        place
        for place, (run_id, at, devices, settings) in enumerate(zip(*columns, strict=True))
        if (run_ids is None or run_id in run_ids)
        and selection.has_begun(str(at))
        and _names_one(devices, selection.devices)
        and (not settings or _names_one(settings, selection.settings))
    ]
    found = {name: cells(chunk, name) for name in tables.FINDINGS.columns}
    return Chunk(len(kept), {name: [column[place] for place in kept] for name, column in found.items()})


def _names_one(joined: Cell, wanted: Collection[str]) -> bool:
    return not wanted or not set(wanted).isdisjoint(joined_names(joined))


def joined_names(cell: Cell) -> list[str]:
    """Returns the names in a cell of devices or settings."""
    return str(cell).split(_BETWEEN) if cell else []
