"""Reads devices over their runs: their state before each, how measurements ended, and each workload's newest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, case, func, select

from foundation.unavailable import Json, Unavailable
from reports.model.histories import DeviceSummary, HealthPoint, HistorySummary, WorkloadSummary
from reports.model.measurement import setting_of
from reports.model.reading import Number, flag, known_number, value
from reports.model.source import PreflightCheck
from reports.model.statistics import Temperature
from suite.store import schema
from suite.store.dialect import Row
from suite.store.identity import lab_of, stamp, workload_key


@dataclass(frozen=True)
class WorkloadOnDevice:
    """A workload on a device. `group` names the workload without its setting."""

    device: str
    workload_key: str
    group: str
    workload: Mapping[str, Json]
    emulated: bool
    measurements: int
    newest_id: int
    stamp: str

    def summary(self) -> HistorySummary:
        """Returns the workload in the form for reports."""
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


def workloads_on_devices(connection: Connection) -> list[WorkloadOnDevice]:
    """Returns every workload on every device, by device and workload."""
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
    remarks = _newest_words(connection)
    found = []
    for name, key, text, emulated, count, newest, finished, last in connection.execute(statement):
        workload = json.loads(text)
        made_from = stamp(name, key, count, newest, finished, last, remarks.get((name, key), ()))
        found.append(
            WorkloadOnDevice(name, key, group_of(workload), workload, bool(emulated), count, newest, made_from)
        )
    return found


def group_of(workload: Mapping[str, Json]) -> str:
    """Returns the workload's key without the setting."""
    return workload_key({key: entry for key, entry in workload.items() if key != "quant"})


def workload_summaries(found: Iterable[WorkloadOnDevice]) -> list[WorkloadSummary]:
    """Returns each workload once, with its settings and devices."""
    groups: dict[str, list[WorkloadOnDevice]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    return [
        WorkloadSummary(
            key=group,
            workload=own[0].workload,
            devices=list(dict.fromkeys(one.device for one in own)),
            settings=list(dict.fromkeys(setting_of(one.workload) for one in own)),
            stamp=stamp(*(one.stamp for one in own)),
        )
        for group, own in sorted(groups.items())
    ]


def _newest_words(connection: Connection) -> dict[tuple[str, str], tuple[object, ...]]:
    """Returns the newest verdict, acceptance and remark on each workload on a device, which are part of its stamp."""
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
    """Selects the newest remark on a run, for everything that the run measured."""
    remark, table, device = schema.annotation, schema.measurement, schema.device
    return (
        select(device.c.name, table.c.workload_key, func.max(remark.c.id))
        .select_from(remark.join(table, table.c.run_id == remark.c.run_id).join(device))
        .group_by(device.c.name, table.c.workload_key)
    )


def _newest(table: Table) -> Any:
    return (
        select(table.c.series_id, func.max(table.c.id))
        .where(table.c.series_id.is_not(None))
        .group_by(table.c.series_id)
    )


# Matches the check of the disk (devices/checks/preflight.py).
_FREE = re.compile(r"(\d{1,15}) MB free")
_MIB_OF_MB = 1e6 / 2**20


def device_summaries(connection: Connection, run_id: str | None = None) -> list[DeviceSummary]:
    """Returns every device by name, or those of one run, with the outcome of its last run."""
    ids: dict[str, list[Row]] = {}
    for row in connection.execute(select(schema.device).order_by(schema.device.c.id)).mappings():
        ids.setdefault(row["name"], []).append(row)
    if run_id is not None:
        table = schema.measurement
        used = set(connection.execute(select(table.c.device_id).where(table.c.run_id == run_id).distinct()).scalars())
        ids = {name: rows for name, rows in ids.items() if any(row["id"] in used for row in rows)}
    return [_summary(connection, name, rows) for name, rows in sorted(ids.items())]


def device_health(connection: Connection, name: str) -> list[HealthPoint]:
    """Returns the device's health at each of its runs, oldest first."""
    ids = list(connection.execute(select(schema.device.c.id).where(schema.device.c.name == name)).scalars())
    state, run = schema.device_state, schema.run
    statement = (
        select(state.c.run_id, run.c.started_at, state.c.os_build, state.c.facts, state.c.preflight)
        .select_from(state.join(run))
        .where(state.c.device_id.in_(ids))
        .order_by(run.c.started_at, state.c.id)
    )
    states = {row["run_id"]: row for row in connection.execute(statement).mappings()}
    outcomes = _outcomes(connection, ids)
    absent = [_absence(one, outcomes.get(one.run_id, [])) for one in unreached_runs(connection, ids)]
    return [*(_health(row, outcomes.get(run_id, [])) for run_id, row in states.items()), *absent]


def _summary(connection: Connection, name: str, rows: Sequence[Row]) -> DeviceSummary:
    ids = [row["id"] for row in rows]
    state, table = schema.device_state, schema.measurement
    counted = select(func.count(), func.max(state.c.id)).where(state.c.device_id.in_(ids))
    states, newest = connection.execute(counted).one()
    measurements = connection.execute(select(func.count()).where(table.c.device_id.in_(ids))).scalar_one()
    last = connection.execute(select(state).where(state.c.id == newest)).mappings().one_or_none()
    absent = unreached_runs(connection, ids)
    run_id = absent[-1].run_id if absent else "" if last is None else last["run_id"]
    chosen = (table.c.run_id == run_id) & table.c.device_id.in_(ids) & (table.c.role == "measured")
    ended = connection.execute(select(table.c.status, func.count()).where(chosen).group_by(table.c.status))
    outcomes = {status or "partial": count for status, count in ended}
    warnings: list[str] = []
    if last is not None and not absent:
        warnings = [f"{check.name}: {check.detail}" for check in _preflight(last) if check.status != "ok"]
    return DeviceSummary(
        name=name,
        kind=rows[-1]["kind"],
        emulated=bool(rows[-1]["emulated"]),
        last_run=run_id,
        last_at=absent[-1].at if absent else "" if last is None else last["at"],
        outcomes=outcomes,
        warnings=warnings,
        stamp=stamp(name, ids, states, newest, measurements, sorted(outcomes.items()), absent),
        origin=lab_of(name),
        unreached=absent[-1].reason if absent else "",
        unreached_since=absent[0].at if absent else "",
    )


ON_A_DEVICE = schema.measurement.c.artifact_hash.is_not(None)
"""Measurements that had a program for the device; others were left out, whether or not it was reached."""


@dataclass(frozen=True)
class UnreachedRun:
    """A run that could not reach a device: when it started, and why it could not."""

    run_id: str
    at: str
    reason: str


def unreached_runs(connection: Connection, device_ids: Sequence[int]) -> list[UnreachedRun]:
    """Returns the newest consecutive runs that could not reach a device, oldest first; empty if the last one did.

    A device that was reached has a state in the run; one that wasn't has none, but failed measurements (`ON_A_DEVICE`).
    """
    table, state, run = schema.measurement, schema.device_state, schema.run
    reached = select(func.max(run.c.started_at)).select_from(state.join(run)).where(state.c.device_id.in_(device_ids))
    since = connection.execute(reached).scalar() or ""
    failed = case((func.coalesce(table.c.status, "partial") == "failed", 1), else_=0)
    statement = (
        select(table.c.run_id, run.c.started_at, func.max(table.c.reason), func.min(failed))
        .select_from(table.join(run))
        .where(run.c.started_at > since, table.c.device_id.in_(device_ids), table.c.role == "measured", ON_A_DEVICE)
        .group_by(table.c.run_id, run.c.started_at)
        .order_by(run.c.started_at.desc(), table.c.run_id.desc())
    )
    found: list[UnreachedRun] = []
    for run_id, at, reason, all_failed in connection.execute(statement):
        if not all_failed:
            break
        found.append(UnreachedRun(run_id, at, reason or "the device could not be reached"))
    return found[::-1]


def _preflight(state: Row) -> list[PreflightCheck]:
    return [PreflightCheck.from_document(check) for check in json.loads(state["preflight"])]


@dataclass(frozen=True)
class _Ended:
    """How a measurement ended, and how hot the device was."""

    status: str
    temperature: Temperature
    throttled: bool


def _outcomes(connection: Connection, device_ids: Sequence[int]) -> dict[str, list[_Ended]]:
    """Returns how the measurements of each run ended."""
    table = schema.measurement
    statement = select(table.c.run_id, table.c.status, table.c.document).where(
        table.c.device_id.in_(device_ids), table.c.role == "measured"
    )
    found: dict[str, list[_Ended]] = {}
    for run_id, status, text in connection.execute(statement):
        document = json.loads(text or "{}")
        heat = Temperature.from_document(value(document, "temperature_c"))
        found.setdefault(run_id, []).append(_Ended(status or "partial", heat, flag(document, "throttled") is True))
    return found


def _health(state: Row, ended: Sequence[_Ended]) -> HealthPoint:
    checks = _preflight(state)
    return HealthPoint(
        run_id=state["run_id"],
        at=state["started_at"],
        os_build=state["os_build"],
        temperature_start_c=_highest([one.temperature.start_c for one in ended]),
        temperature_max_c=_highest([one.temperature.max_c for one in ended]),
        throttled=sum(one.throttled for one in ended),
        battery_percent=known_number(json.loads(state["facts"]), "battery_percent"),
        free_mib=_free_mib(checks),
        outcomes=dict(Counter(one.status for one in ended)),
        checks=[(check.name, check.status, check.detail) for check in checks if check.status != "ok"],
    )


def _absence(run: UnreachedRun, ended: Sequence[_Ended]) -> HealthPoint:
    words = dict(Counter(one.status for one in ended))
    return HealthPoint(run.run_id, run.at, "", outcomes=words, checks=[("reached", "failed", run.reason)])


def _highest(values: Sequence[Number]) -> float | None:
    return max((float(value) for value in values if not isinstance(value, Unavailable)), default=None)


def _free_mib(checks: Sequence[PreflightCheck]) -> float | None:
    detail = next((check.detail for check in checks if check.name == "disk"), "")
    found = _FREE.search(detail)
    return float(found[1]) * _MIB_OF_MB if found else None
