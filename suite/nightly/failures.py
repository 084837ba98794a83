"""A night's measurements without numbers as groups: devices not reached, devices that failed, workloads that did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from reports.model.findings import Affected, Category, Level
from reports.model.histories import SeriesVerdict
from reports.model.measurement import setting_of
from reports.text.appearance import setting_order
from suite.regression.grouping import Group
from suite.store import schema

_NO_FAILURE = ("ok", "unstable", "unsupported")
_LONGEST_REASON = 300


def group_failures(connection: Connection, run_id: str) -> list[Group]:
    """Returns devices that were not reached, devices in which most measurements failed, and the rest by setting."""
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
    """A measurement of the night. `has_program`: it was for the device to carry out."""

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
    said = f"{first[:_LONGEST_REASON]}{more}"
    if category == "missing":
        return f"not reached: {said}"
    words = Counter(row.status for row in own)
    counted = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"{counted} of {of} measurements: {said}" if len({row.device for row in own}) == 1 else f"{counted}: {said}"


def _member(row: _Row) -> SeriesVerdict:
    """Returns a measurement as the member of a group, without a metric or a number."""
    return SeriesVerdict(
        row.device, row.workload_key, row.workload, "", "lower", False, str(row.measurement_id), row.status, "", ""
    )
