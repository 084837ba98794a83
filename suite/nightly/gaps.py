"""Finds what a night lacks: devices it could not reach, workloads it left out, numbers that series no longer have.

Also groups its measurements without numbers: devices not reached, devices that failed, workloads that failed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, case, select

from foundation.unavailable import Unavailable
from reports.model.findings import Affected, Category, Level
from reports.model.histories import SeriesVerdict
from reports.model.measurement import Measurement, setting_of
from reports.model.quantities import METRIC_BY_NAME, metric_title
from reports.text.appearance import setting_order
from reports.text.numbers import format_list
from suite.regression.grouping import Group
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.points import STATUSES_WITH_POINTS
from suite.store.store import Store

NIGHTS_BACK = 30
"""A number that none of this many nights had is no longer missed."""

What = Literal["unreached", "left out", "vanished"]


@dataclass(frozen=True)
class Gap:
    """One thing that a night lacks on a device. The sentence has since when and why."""

    what: What
    device: str
    sentence: str


def find_gaps(store: Store, run_id: str) -> list[Gap]:
    """Returns what earlier nights had and this one lacks, and the devices that it could not reach."""
    unreached = [
        Gap("unreached", one.name, f"not reached since {_day(one.unreached_since)}: {one.unreached}")
        for one in StoreSource(store).devices(run_id)
        if one.unreached and one.last_run == run_id
    ]
    nights = _nights(store, run_id)
    return [*unreached, *_left_out(nights), *_vanished(nights)]


@dataclass(frozen=True)
class _Measured:
    """A measurement of a night; `metrics` are those for which it has a point. Only tonight's have a document."""

    device: str
    workload_key: str
    status: str
    document: str
    metrics: frozenset[str]

    @property
    def place(self) -> tuple[str, str]:
        return self.device, self.workload_key


@dataclass(frozen=True)
class _Night:
    started_at: str
    measured: dict[tuple[str, str], _Measured]


def _nights(store: Store, run_id: str) -> list[_Night]:
    """Returns this night and the earlier ones, newest first."""
    run, table, device, point, series = (
        schema.run, schema.measurement, schema.device, schema.point, schema.series
    )  # fmt: skip
    with store.database.reading() as connection:
        started = connection.execute(select(run.c.started_at).where(run.c.id == run_id)).scalar_one()
        earlier = (run.c.purpose == "nightly") & (run.c.started_at < started)
        chosen = select(run.c.id, run.c.started_at).where(earlier | (run.c.id == run_id))
        ids = connection.execute(chosen.order_by(run.c.started_at.desc()).limit(NIGHTS_BACK + 1)).all()
        of_nights = (table.c.run_id.in_([row.id for row in ids])) & (table.c.role == "measured")
        metrics: dict[int, set[str]] = {}
        joined = point.join(series).join(table)
        known = of_nights & series.c.metric.in_(METRIC_BY_NAME)
        for key, metric in connection.execute(
            select(point.c.measurement_id, series.c.metric).select_from(joined).where(known)
        ):
            metrics.setdefault(key, set()).add(metric)
        document = case((table.c.run_id == run_id, table.c.document)).label(
            "document"
        )  # a month's documents are many MB
        columns = (table.c.id, table.c.run_id, device.c.name, table.c.workload_key, table.c.status, document)
        rows = connection.execute(select(*columns).select_from(table.join(device)).where(of_nights)).all()
    found: dict[str, _Night] = {row.id: _Night(row.started_at, {}) for row in ids}
    for row in rows:
        one = _Measured(
            row.name, row.workload_key, row.status or "", row.document or "{}", frozenset(metrics.get(row.id, ()))
        )
        found[row.run_id].measured[one.place] = one
    return list(found.values())


def _left_out(nights: Sequence[_Night]) -> list[Gap]:
    """Returns the workloads that the night before measured and this one didn't."""
    if len(nights) < 2:
        return []
    tonight, before = nights[0].measured, nights[1].measured
    devices: dict[str, list[str]] = {}
    for device, key in before:
        if (device, key) not in tonight:
            devices.setdefault(device, []).append(key)
    day = _day(nights[1].started_at)
    return [
        Gap("left out", device, f"{format_list(keys)} of the night of {day} not measured")
        for device, keys in devices.items()
    ]


def _vanished(nights: Sequence[_Night]) -> list[Gap]:
    """Returns the numbers that good measurements had in an earlier night but lack tonight; similar ones share a gap."""
    alike: dict[tuple[str, str], list[str]] = {}
    for place, tonight in nights[0].measured.items():
        if tonight.status not in STATUSES_WITH_POINTS:
            continue
        before = [(night, one) for night in nights[1:] if (one := night.measured.get(place)) is not None]
        for metric in sorted(set().union(*(one.metrics for _, one in before)) - tonight.metrics):
            since = next(index for index, (_, one) in enumerate(before) if metric in one.metrics)
            without = 1 + sum(one.status in STATUSES_WITH_POINTS for _, one in before[:since])
            nights_word = "1 night" if without == 1 else f"{without} nights"
            why = _why_none(tonight, metric)
            absence = f"none for {nights_word}, the last on {_day(before[since][0].started_at)}: {why}"
            alike.setdefault((tonight.device, absence), []).append(metric_title(metric).lower())
    return [
        Gap("vanished", device, f"{format_list(list(dict.fromkeys(titles)))} ({len(titles)} series): {absence}")
        for (device, absence), titles in alike.items()
    ]


def _why_none(measured: _Measured, metric: str) -> str:
    found = METRIC_BY_NAME[metric].read(Measurement.from_document(json.loads(measured.document)))
    return found.reason if isinstance(found, Unavailable) else "no reason was recorded"


def _day(iso: str) -> str:
    """Returns the local date of a stored time."""
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d}"


_NO_FAILURE = ("ok", "unstable", "unsupported")
_LONGEST_REASON = 300


def group_failures(connection: Connection, run_id: str) -> list[Group]:
    """Returns devices that were not reached, devices on which most measurements failed, and the rest by setting."""
    rows = _rows(connection, run_id)
    failed = [row for row in rows if row.status not in _NO_FAILURE]
    by_device: dict[str, list[_Row]] = {}
    for row in failed:
        by_device.setdefault(row.device, []).append(row)
    found, left = [], list[_Row]()
    for device, own in by_device.items():
        of = sum(row.device == device for row in rows)
        if not any(row.reached for row in own) and any(row.has_program for row in own) and len(own) == of:
            found.append(_group("missing", "device", [row for row in own if row.has_program] or own, rows))
        elif len([row for row in own if row.has_program]) * 2 > of:
            found.append(_group("failed", "device", own, rows))
        else:
            left += own
    by_setting: dict[str, list[_Row]] = {}
    for row in left:
        by_setting.setdefault(setting_of(row.workload), []).append(row)
    return found + [_group("failed", "boards", own, rows) for own in by_setting.values()]


@dataclass(frozen=True)
class _Row:
    """A measurement of the night. `has_program`: there was a program that the device could run."""

    device: str
    kind: str
    workload: dict[str, Any]
    workload_key: str
    measurement_id: int
    status: str
    reason: str
    has_program: bool
    reached: bool


def _rows(connection: Connection, run_id: str) -> list[_Row]:
    table, device, state = schema.measurement, schema.device, schema.device_state
    reached = set(connection.execute(select(state.c.device_id).where(state.c.run_id == run_id)).scalars())
    columns = (table.c.id, table.c.device_id, table.c.workload, table.c.workload_key, table.c.status, table.c.reason)
    chosen = select(*columns, table.c.artifact_hash, device.c.name, device.c.kind).select_from(table.join(device))
    rows = connection.execute(
        chosen.where(table.c.run_id == run_id, table.c.role == "measured").order_by(table.c.id)
    ).all()
    return [
        _Row(
            row.name, row.kind, json.loads(row.workload), row.workload_key, row.id, row.status or "partial",
            row.reason or "", row.artifact_hash is not None, row.device_id in reached,
        )
        for row in rows
    ]  # fmt: skip


def _group(category: Category, level: Level, own: Sequence[_Row], rows: Sequence[_Row]) -> Group:
    settings = {setting_of(row.workload) for row in own}
    boards = dict.fromkeys(row.device for row in own)
    kinds = {row.device: row.kind for row in rows}
    places = {(row.device, row.workload_key) for row in rows if setting_of(row.workload) in settings}
    where = tuple(
        Affected(
            kind,
            tuple(board for board in boards if kinds[board] == kind),
            len({device for device, _ in places if kinds[device] == kind}),
        )
        for kind in dict.fromkeys(kinds[board] for board in boards)
    )
    every = {setting_of(row.workload) for row in rows if row.device in boards}
    return Group(
        category=category,
        family="",
        side="",
        level=level,
        settings=() if settings == every and level == "device" else tuple(sorted(settings, key=setting_order)),
        workloads=(),
        where=where,
        members=tuple(_member(row) for row in own),
        reason=_reason(own, category, len({row.workload_key for row in rows if row.device in boards})),
    )


def _reason(own: Sequence[_Row], category: Category, of: int) -> str:
    (first, _), *others = Counter(row.reason or "no reason was recorded" for row in own).most_common()
    more = f" (and {len(others)} other reasons)" if others else ""
    reason = f"{first[:_LONGEST_REASON]}{more}"
    if category == "missing":
        return f"not reached: {reason}"
    words = Counter(row.status for row in own)
    counted = ", ".join(f"{count} {word}" for word, count in words.items())
    if len({row.device for row in own}) == 1:
        counted += f" of {of} measurements"
    return f"{counted}: {reason}"


def _member(row: _Row) -> SeriesVerdict:
    """Returns a measurement as a member of a group, without a metric or a number."""
    return SeriesVerdict(
        row.device, row.workload_key, row.workload, "", "lower", False, str(row.measurement_id), row.status, "", ""
    )
