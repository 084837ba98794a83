"""Every workload on every device that was ever measured, with its newest measurement: one pass over the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, select

from reports.histories import HistorySummary, WorkloadSummary
from suite.store import schema
from suite.store.identity import workload_key
from suite.views.origin import lab_of
from suite.views.stamps import stamp


@dataclass(frozen=True)
class Placed:
    """One workload on one device. `group` names the workload without its setting."""

    device: str
    workload_key: str
    group: str
    workload: Mapping[str, Any]
    emulated: bool
    measurements: int
    newest_id: int
    stamp: str

    def summary(self) -> HistorySummary:
        """As reports ask for it."""
        return HistorySummary(
            self.device,
            self.workload_key,
            self.group,
            self.workload,
            self.emulated,
            self.measurements,
            self.stamp,
            lab_of(self.device),
        )


def all_placed(connection: Connection) -> list[Placed]:
    """By device and workload."""
    table = schema.measurement
    statement = (
        select(
            schema.device.c.name, table.c.workload_key, func.max(table.c.workload), func.max(schema.device.c.emulated),
            func.count(), func.max(table.c.id), func.count(table.c.finished_at), func.max(table.c.finished_at),
        )
        .select_from(table.join(schema.device))
        .where(table.c.role == "measured")
        .group_by(schema.device.c.name, table.c.workload_key)
        .order_by(schema.device.c.name, table.c.workload_key)
    )  # fmt: skip
    said = _said(connection)
    found = []
    for name, key, text, emulated, count, newest, finished, last in connection.execute(statement):
        workload = json.loads(text)
        made_from = stamp(name, key, count, newest, finished, last, said.get((name, key), ()))
        found.append(Placed(name, key, group_of(workload), workload, bool(emulated), count, newest, made_from))
    return found


def group_of(workload: Mapping[str, Any]) -> str:
    """The workload's key without the setting."""
    return workload_key({key: entry for key, entry in workload.items() if key != "quant"})


def summed_up(placed: Iterable[Placed]) -> list[WorkloadSummary]:
    """Each workload once, its settings and devices together."""
    groups: dict[str, list[Placed]] = {}
    for one in placed:
        groups.setdefault(one.group, []).append(one)
    return [
        WorkloadSummary(
            key=group,
            workload=found[0].workload,
            devices=list(dict.fromkeys(one.device for one in found)),
            settings=list(dict.fromkeys(str(one.workload.get("quant", "unknown")) for one in found)),
            stamp=stamp(*(one.stamp for one in found)),
        )
        for group, found in sorted(groups.items())
    ]


def _said(connection: Connection) -> dict[tuple[str, str], tuple[object, ...]]:
    """The newest verdict, acceptance and remark on the series of each workload on a device: part of its stamp."""
    named = {row.id: (row.device_name, row.workload_key) for row in connection.execute(select(schema.series))}
    found: dict[tuple[str, str], tuple[object, ...]] = {}
    for table in (schema.verdict, schema.acceptance, schema.annotation):
        newest: dict[tuple[str, str], int] = {}
        for series_id, last in connection.execute(_newest(table)):
            newest[named[series_id]] = max(last, newest.get(named[series_id], 0))
        for name, last in newest.items():
            found[name] = (*found.get(name, ()), table.name, last)
    for name, key, last in connection.execute(_newest_of_runs()):
        found[name, key] = (*found.get((name, key), ()), "run", last)
    return found


def _newest_of_runs() -> Any:
    """The newest remark on a run, for all that the run measured."""
    said, table, device = schema.annotation, schema.measurement, schema.device
    return (
        select(device.c.name, table.c.workload_key, func.max(said.c.id))
        .select_from(said.join(table, table.c.run_id == said.c.run_id).join(device))
        .group_by(device.c.name, table.c.workload_key)
    )


def _newest(table: Table) -> Any:
    return (
        select(table.c.series_id, func.max(table.c.id))
        .where(table.c.series_id.is_not(None))
        .group_by(table.c.series_id)
    )
