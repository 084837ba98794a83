"""Follows findings over nights: groups a night's verdicts, decides which findings continue, and stores the result.

A finding is named after what it is, not when it was found, so one that returns has its old name. It continues if
tonight's verdicts lie within it. In its first five nights it may become wider, since not every board shows a change in
its first night. It is fixed when none of its series, at least three, is changed any more; with fewer series, two such
nights in a row are needed, as one night in ten misses an existing change. A finding whose level was accepted, or whose
series started over, has ended rather than been fixed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, select

from reports.model.findings import Confirmation, Estimate, Finding, Member
from reports.model.histories import SeriesVerdict
from reports.model.reading import known_number, text
from suite.nightly.gaps import group_failures
from suite.nightly.provenance import differences_of
from suite.regression.drift import NIGHTS_BETWEEN_CHECKS
from suite.regression.grouping import (
    NIGHTS_TOGETHER,
    RULE,
    Blamed,
    Group,
    Place,
    change_of,
    family_of,
    group_night,
    group_within,
    is_changed,
    is_of_device,
    is_within,
    place_of,
    side_of,
)
from suite.report_data.series import night_verdicts
from suite.store import schema
from suite.store.identity import canonical
from suite.store.store import Store

_STAYS = {"device": NIGHTS_BETWEEN_CHECKS, "improved": NIGHTS_TOGETHER}
"""Nights after which a finding of that category ends if it was not seen; others are followed until they are fixed."""
_ENOUGH_SERIES = 3
_MOST_COMMANDS = 3


def record_findings(store: Store) -> None:
    """Stores the findings of every judged night since the last one that has any. Stored findings don't change."""
    with store.database.writing() as connection:
        for run_id, at in _pending(connection):
            _record(connection, run_id, at)


def _pending(connection: Connection) -> list[tuple[str, str]]:
    run, finding = schema.run, schema.finding
    newest = select(run.c.started_at).join(finding, finding.c.run_id == run.c.id).order_by(run.c.started_at.desc())
    since = connection.execute(newest.limit(1)).scalar() or ""
    nights = select(run.c.id, run.c.started_at).where(run.c.purpose == "nightly", run.c.started_at > since)
    return [(row.id, row.started_at) for row in connection.execute(nights.order_by(run.c.started_at))]


@dataclass(frozen=True)
class _Open:
    """A finding that may continue, and whether the last night missed it."""

    last: Finding
    missed: bool

    @property
    def places(self) -> frozenset[tuple[str, str]]:
        return frozenset(member.place for member in self.last.members)


def _record(connection: Connection, run_id: str, at: str) -> None:
    verdicts, kinds = night_verdicts(connection, run_id), _kinds(connection)
    known = _open(connection, at)
    followed = _follow(verdicts, kinds, _read_blamed(connection, at), known)
    failures = group_failures(connection, run_id)
    if not verdicts and not failures:  # interrupted before anything was measured
        return
    followed += _match(failures, known, ("missing", "failed"))
    rows, taken = [], set[str]()
    for group, before in followed:
        key = before.last.id if before else _key(group, taken)
        taken.add(key)
        found = _finding(connection, key, group, before, run_id, at)
        rows.append((key, "seen", found))
    endings = _endings(connection, run_id)
    merged = {before.last.id for _, before in followed if before}
    for one in known:
        if one.last.id not in merged and one.last.id not in taken:
            rows += _not_seen(one, verdicts, endings)
    if rows:
        connection.execute(
            insert(schema.finding),
            [
                {"key": key, "run_id": run_id, "state": state, "document": canonical(found.document() | {"rule": RULE})}
                for key, state, found in rows
            ],
        )


def _kinds(connection: Connection) -> dict[str, str]:
    device = schema.device
    return {
        row.name: row.kind for row in connection.execute(select(device.c.name, device.c.kind).order_by(device.c.id))
    }


def _nights_before(connection: Connection, at: str, count: int) -> list[str]:
    run = schema.run
    earlier = select(run.c.id).where(run.c.purpose == "nightly", run.c.started_at < at)
    return list(connection.execute(earlier.order_by(run.c.started_at.desc()).limit(count)).scalars())


def _read_blamed(connection: Connection, at: str) -> Blamed:
    """Returns what earlier nights blamed on devices."""
    found: dict[tuple[str, str, str], list[Place]] = {}
    for night in _nights_before(connection, at, NIGHTS_TOGETHER - 1):
        places = {
            ((one.device, family_of(one.metric), side_of(one)), place_of(one))
            for one in night_verdicts(connection, night)
            if is_of_device(one)
        }
        for key, place in places:
            found.setdefault(key, []).append(place)
    return found


def _open(connection: Connection, at: str) -> list[_Open]:
    """Returns the findings that may continue, oldest first."""
    table = schema.finding
    nights = {night: place for place, night in enumerate(_nights_before(connection, at, NIGHTS_BETWEEN_CHECKS), 1)}
    rows = select(table.c.key, table.c.run_id, table.c.state, table.c.id).order_by(table.c.id)
    last: dict[str, tuple[int, str]] = {}
    seen: dict[str, str] = {}
    for key, run_id, state, number in connection.execute(rows):
        last[key] = (number, state)
        if state == "seen":
            seen[key] = run_id
    chosen = {number for number, state in last.values() if state in ("seen", "unseen")}
    found = []
    for row in connection.execute(select(table.c.key, table.c.state, table.c.document).where(table.c.id.in_(chosen))):
        one = Finding.from_document(json.loads(row.document))
        ago = nights.get(seen.get(row.key, ""), NIGHTS_BETWEEN_CHECKS + 1)
        if one is not None and ago <= _STAYS.get(one.category, ago):
            found.append(_Open(one, row.state == "unseen"))
    return sorted(found, key=lambda one: (one.last.since_at, one.last.id))


def _follow(
    verdicts: Sequence[SeriesVerdict], kinds: Mapping[str, str], blamed: Blamed, known: Sequence[_Open]
) -> list[tuple[Group, _Open | None]]:
    """Returns the groups of a night, each with the finding that it continues."""
    followed: list[tuple[Group, _Open | None]] = []
    explained: set[int] = set()
    for one in known:
        if one.last.category not in ("regressed", "improved") or one.last.nights <= NIGHTS_TOGETHER:
            continue
        own = [
            verdict
            for verdict in verdicts
            if is_changed(verdict) and id(verdict) not in explained and is_within(verdict, one.last, kinds)
        ]
        if own:
            followed.append((group_within(verdicts, kinds, one.last, own), one))
            explained |= {id(verdict) for verdict in own}
    groups = group_night(verdicts, kinds, blamed, [group for group, _ in followed])
    young = [one for one in known if all(one is not before for _, before in followed)]
    return followed + _match(groups, young, ("regressed", "improved", "device", "inconclusive"))


def _match(
    groups: Sequence[Group], known: Sequence[_Open], categories: Sequence[str]
) -> list[tuple[Group, _Open | None]]:
    """Returns each group with the finding that it continues.

    That is the oldest finding that shares a place with the group. If a finding shares places with several groups, the
    one that shares the most continues it.
    """
    left = list(groups)
    found: list[tuple[Group, _Open | None]] = []
    for one in known:
        alike = [
            (shared, group)
            for group in left
            if group.category in categories
            and (group.category, group.family, group.side) == (one.last.category, one.last.metric, one.last.side)
            and (shared := _shared(one.last, group))
        ]
        if alike:
            _, group = max(alike, key=lambda pair: pair[0])
            left = [other for other in left if other is not group]
            found.append((group, one))
    return found + [(group, None) for group in left]


def _shared(known: Finding, group: Group) -> int:
    """Counts the workloads that both have in common, or the boards if both are about boards."""
    if known.category in ("regressed", "improved", "inconclusive"):
        places = {(member.device, member.workload_key) for member in group.members}
        return len(places & {member.place for member in known.members})
    return len(set(known.devices) & {member.device for member in group.members})


def _key(group: Group, taken: set[str]) -> str:
    """Returns the name of a finding: `F-` and digits derived from what it is."""
    where = [part.kind for part in group.where] if group.level == "kind" else [part.boards for part in group.where]
    what = [group.category, group.family, group.side, group.level, group.settings, group.workloads, where]
    for number in range(len(taken) + 1):
        digest = hashlib.sha256(canonical([what, *([number] if number else [])]).encode()).hexdigest()
        if (key := f"F-{digest[:6]}") not in taken:
            break
    return key


def _finding(
    connection: Connection, key: str, group: Group, before: _Open | None, run_id: str, at: str
) -> Finding:  # fmt: skip
    numbers = [one.numbers for one in group.members if group.category in ("regressed", "improved")]
    pairs = [int((known_number(one, "pairs") or 0) + (known_number(one, "pairs_again") or 0)) for one in numbers]
    p, q = ([found for one in numbers if (found := known_number(one, name)) is not None] for name in ("p", "q"))
    commands = dict.fromkeys(text(one.inputs, "command") for one in group.members)
    return Finding(
        id=key,
        category=group.category,
        state="known" if before else "new",
        metric=group.family,
        side=group.side,
        level=group.level,
        settings=group.settings,
        workloads=group.workloads,
        where=group.where,
        members=tuple(_member(one) for one in group.members),
        reason=group.reason,
        since_run=before.last.since_run if before else run_id,
        since_at=before.last.since_at if before else at,
        nights=before.last.nights + 1 if before else 1,
        differences=differences_of(connection, run_id, group.members, of_device=group.category == "device"),
        confirmation=Confirmation(min(pairs, default=0), max(p, default=None), max(q, default=None)),
        commands=tuple(command for command in commands if command)[:_MOST_COMMANDS],
    )


def _member(one: SeriesVerdict) -> Member:
    change = change_of(one)
    ends = (known_number(one.numbers, key) if is_changed(one) else None for key in ("ratio_low", "ratio_high"))
    estimate = None if change is None else Estimate(1 + change, *ends)
    return Member(one.device, one.workload_key, one.metric, estimate, one.series_id, one.measurement_id)


def _endings(connection: Connection, run_id: str) -> dict[tuple[str, str], str]:
    """Returns how the measurement at each place ended."""
    table, device = schema.measurement, schema.device
    chosen = select(device.c.name, table.c.workload_key, table.c.status).select_from(table.join(device))
    rows = connection.execute(chosen.where(table.c.run_id == run_id, table.c.role == "measured"))
    return {(row.name, row.workload_key): row.status or "partial" for row in rows}


def _not_seen(
    one: _Open, verdicts: Sequence[SeriesVerdict], endings: Mapping[tuple[str, str], str]
) -> list[tuple[str, str, Finding]]:
    """Returns the row of a finding that was not seen tonight, or None if it may return."""
    last = one.last
    if last.category in _STAYS:
        return []
    if last.category == "inconclusive":
        return [(last.id, "ended", last)]
    gone = replace(last, state="known", seen=False)
    if last.category in ("missing", "failed"):
        ended = [endings[place] for place in one.places if place in endings]
        return [(last.id, "fixed" if ended else "ended", replace(last, state="fixed" if ended else "known"))]
    series = {(member.device, member.workload_key, member.metric) for member in last.members}
    words = [found.verdict for found in verdicts if (found.device, found.workload_key, found.metric) in series]
    if words.count("insufficient") * 2 > len(series):  # accepted, or another firmware: it can't return
        return [(last.id, "ended", gone)]
    alike = sum(word in ("unchanged", "improved") for word in words)
    if alike * 2 >= len(series) and (alike >= _ENOUGH_SERIES or one.missed):
        return [(last.id, "fixed", replace(last, state="fixed"))]
    return [(last.id, "unseen", gone)]
