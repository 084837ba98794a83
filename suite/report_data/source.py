"""Reads the store as a `reports.model.source.ReportSource`.

Trainings and the newest nights are read here; runs, series and devices are read in the other modules of this folder.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, func, select

from reports.model.findings import Finding
from reports.model.histories import (
    NIGHTS,
    Compared,
    DeviceSummary,
    HealthPoint,
    HistorySummary,
    MetricHistory,
    Night,
    Recent,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.model.quantities import LATENCY
from reports.model.source import RunContents, RunSummary, Samples, SessionTrace, Step
from reports.model.training import TrainingGroup, TrainingGroupSummary, way_of
from suite.report_data import comparison, device_histories, runs
from suite.report_data import series as verdicts
from suite.report_data.device_histories import ON_A_DEVICE
from suite.results import findings
from suite.results.findings import findings_of_nights
from suite.results.race import races
from suite.store import schema
from suite.store.database import Database
from suite.store.dialect import Row
from suite.store.identity import IMPORTED, stamp
from suite.store.session_rows import load_samples
from suite.store.store import Store
from suite.store.trainings import Trainings


class StoreSource:
    """The runs, histories and traces of a store, read-only.

    The list of workloads is read only once, so create a new source after the store has changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs(self) -> list[RunSummary]:
        """Returns every run, newest first."""
        with self._store.database.reading() as connection:
            return runs.run_summaries(connection)

    def document(self, run_id: str) -> dict[str, Any]:
        """Returns the document of a run (docs/contracts.md, with additions for reports).

        UserError for an unknown one.
        """
        with self._store.database.reading() as connection:
            return runs.run_document(connection, run_id)

    def run(self, run_id: str) -> RunContents:
        """Returns a run with its measurements. Raises UserError for an unknown one."""
        return RunContents.from_document(self.document(run_id))

    def surroundings(self, run_id: str) -> RunContents:
        """Returns a run without its measurements. Raises UserError for an unknown one."""
        with self._store.database.reading() as connection:
            return RunContents.from_document(runs.surroundings(connection, run_id))

    def trace(self, session_id: str) -> SessionTrace:
        """Returns the steps and samples of a session; empty if there is no such session."""
        chosen = select(schema.sample).where(schema.sample.c.session_id == session_id).order_by(schema.sample.c.id)
        with self._store.database.reading() as connection:
            rows = connection.execute(chosen).mappings().all()
        steps, traces = load_samples(rows)
        return SessionTrace(
            steps=[Step(step.index, step.phase, step.t0_ns, step.t1_ns, step.losses) for step in steps],
            samples={name: Samples(trace.quantity, trace.t_ns, trace.values) for name, trace in traces.items()},
        )

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        """Returns the verdicts of a night; empty for a run that was not judged."""
        with self._store.database.reading() as connection:
            return verdicts.night_verdicts(connection, run_id)

    def findings(self, run_id: str) -> list[Finding]:
        """Returns the findings of a night in reading order; empty for a run that was not judged."""
        with self._store.database.reading() as connection:
            return findings.findings_of_night(connection, run_id)

    def recent(self) -> Recent:
        """Returns the newest nights with their devices, or what the newest run measured if there are no nights."""
        with self._store.database.reading() as connection:
            found = newest_nights(connection)
            newest = newest_own_run(connection) if not found else None
        last = found[-1].run_id if found else newest
        if last is None:
            return Recent()
        among = {night.run_id for night in found} or {last}
        latest = {
            one.key: [item for item in self.latest(one.key) if item.run_id in among] for one in self.workloads(last)
        }
        if not found:
            return Recent((), latest)
        busy = [name for name, one in self.surroundings(last).devices.items() if one.was_busy]
        return Recent(found, latest, self.verdicts(last), busy)

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        """Returns every workload on every device, or those of one run."""
        return [one.summary() for one in self._of(run_id)]

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        """Returns every metric of a workload on a device; empty if it is unknown."""
        with self._store.database.reading() as connection:
            return verdicts.workload_history(connection, device, workload_key)

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        """Returns every device by name, or those of one run."""
        with self._store.database.reading() as connection:
            return device_histories.device_summaries(connection, run_id)

    def health(self, device: str) -> list[HealthPoint]:
        """Returns a device's health at each of its runs, oldest first."""
        with self._store.database.reading() as connection:
            return device_histories.device_health(connection, device)

    def workloads(self, run_id: str | None = None) -> list[WorkloadSummary]:
        """Returns every workload with its settings grouped, or those of one run."""
        groups = {one.group for one in self._of(run_id)}
        return [one for one in device_histories.workload_summaries(self._workloads) if one.key in groups]

    def latest(self, workload: str) -> list[Measurement]:
        """Returns the newest measurement of each setting of a workload on each device."""
        ids = [one.newest_id for one in self._workloads if one.group == workload]
        with self._store.database.reading() as connection:
            found = runs.measurement_documents(connection, schema.measurement.c.id.in_(ids))
        return [
            replace(
                Measurement.from_document(document),
                run_id=row["run_id"],
                started_at=row["started_at"],
                workload_key=row["workload_key"],
            )
            for document, row in found
        ]

    def compared(self, before: str, after: str) -> Compared:
        """Compares two runs. Raises UserError for an unknown one."""
        return comparison.compare_runs(self.run(before), self.run(after))

    def training_groups(self) -> list[TrainingGroupSummary]:
        """Returns the trainings of every command, newest first."""
        with self._store.database.reading() as connection:
            return group_summaries(connection)

    def training_group(self, group_id: str) -> TrainingGroup:
        """Returns the trainings of a command with their races."""
        return group_contents(self._store.database, group_id)

    @cached_property
    def _workloads(self) -> list[device_histories.WorkloadOnDevice]:
        with self._store.database.reading() as connection:
            return device_histories.workloads_on_devices(connection)

    def _of(self, run_id: str | None) -> list[device_histories.WorkloadOnDevice]:
        if run_id is None:
            return self._workloads
        table = schema.measurement
        statement = (
            select(schema.device.c.name, table.c.workload_key)
            .select_from(table.join(schema.device))
            .where(table.c.run_id == run_id)
        )
        with self._store.database.reading() as connection:
            touched = {(name, key) for name, key in connection.execute(statement)}
        return [one for one in self._workloads if (one.device, one.workload_key) in touched]


def group_summaries(connection: Connection) -> list[TrainingGroupSummary]:
    """Returns the trainings of every command, newest first."""
    groups = connection.execute(select(schema.training_group).order_by(schema.training_group.c.id.desc())).mappings()
    trainings, device = schema.training, schema.device
    rows = connection.execute(
        select(trainings, device.c.name, device.c.emulated)
        .join(device)
        .order_by(trainings.c.started_at, trainings.c.id)
    ).mappings()
    in_group: dict[str, list[Row]] = {}
    for row in rows:
        in_group.setdefault(row["group_id"], []).append(row)
    progress, ends = _training_progress(connection), _last_accuracies(connection)
    return [_group_summary(group, in_group.get(group["id"], []), progress, ends) for group in groups]


def _training_progress(connection: Connection) -> dict[str, list[object]]:
    """Returns what changes when a training progresses: its numbers of segments and evaluations, and the newest."""
    found: dict[str, list[object]] = {}
    for table in (schema.training_segment, schema.training_evaluation):
        counted = select(table.c.training_id, func.count(), func.max(table.c.committed_at))
        for training_id, count, newest in connection.execute(counted.group_by(table.c.training_id)):
            found.setdefault(training_id, []).append([table.name, count, newest])
    return found


def _last_accuracies(connection: Connection) -> dict[str, float]:
    table = schema.training_evaluation
    ordered = select(table.c.training_id, table.c.accuracy).where(table.c.step > 0).order_by(table.c.step)
    return {row.training_id: row.accuracy for row in connection.execute(ordered)}


def _group_summary(
    group: Row, trainings: Sequence[Row], progress: dict[str, list[object]], ends: dict[str, float]
) -> TrainingGroupSummary:
    workloads = [json.loads(row["workload"]) for row in trainings]
    known = [ends[row["id"]] for row in trainings if row["id"] in ends]
    changing = [(row["id"], row["status"], row["reason"], progress.get(row["id"], [])) for row in trainings]
    return TrainingGroupSummary(
        group_id=group["id"],
        started_at=group["started_at"],
        status=group["status"],
        command=shlex.join(json.loads(group["command"])),
        models=list(dict.fromkeys(str(workload.get("model")) for workload in workloads)),
        devices=list(dict.fromkeys(row["name"] for row in trainings)),
        ways=list(dict.fromkeys(way_of(workload) for workload in workloads)),
        outcomes=Counter(row["status"] for row in trainings),
        emulated=any(row["emulated"] for row in trainings),
        accuracies=(min(known), max(known)) if known else None,
        stamp=stamp(group["id"], group["status"], changing),
    )


def group_contents(database: Database, group_id: str) -> TrainingGroup:
    """Returns all of a command's trainings, with the races between them."""
    table = schema.training_group
    with database.reading() as connection:
        row = connection.execute(select(table).where(table.c.id == group_id)).mappings().one()
    trainings = Trainings(database).in_group(group_id)
    return TrainingGroup(
        group_id=group_id,
        started_at=row["started_at"],
        status=row["status"],
        command=shlex.join(json.loads(row["command"])),
        trainings=trainings,
        races=races(trainings),
        environment=json.loads(row["environment"]),
    )


def newest_nights(connection: Connection, count: int = NIGHTS) -> list[Night]:
    """Returns the newest nights, oldest first."""
    run = schema.run
    chosen = select(run.c.id, run.c.started_at).where(run.c.purpose == "nightly")
    rows = connection.execute(chosen.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(count)).all()[::-1]
    ids = [row.id for row in rows]
    outcomes, failed, latencies = _outcomes(connection, ids), _failed(connection, ids), _latencies(connection, ids)
    findings, reached = findings_of_nights(connection, ids), _reached(connection, ids)
    return [
        Night(
            run_id=row.id,
            started_at=row.started_at,
            outcomes=outcomes.get(row.id, {}),
            unreached=frozenset(failed.get(row.id, set()) - reached.get(row.id, set())),
            findings=findings.get(row.id, []),
            latency_ms=latencies.get(row.id, {}),
        )
        for row in rows
    ]


def newest_own_run(connection: Connection) -> str | None:
    """Returns the newest run of this lab that measured something, or None if there is none."""
    run, table = schema.run, schema.measurement
    chosen = select(run.c.id).where(run.c.purpose != IMPORTED, run.c.id.in_(select(table.c.run_id)))
    newest = connection.execute(chosen.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(1)).scalar()
    return None if newest is None else str(newest)


def _outcomes(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    table, device = schema.measurement, schema.device
    counted = (
        select(table.c.run_id, device.c.name, table.c.status, func.count())
        .select_from(table.join(device))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured")
        .group_by(table.c.run_id, device.c.name, table.c.status)
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for run_id, name, status, count in connection.execute(counted):
        found.setdefault(run_id, {}).setdefault(name, {})[status or "partial"] = count
    return found


def _failed(connection: Connection, run_ids: Sequence[str]) -> dict[str, set[str]]:
    """Returns the devices of each night that failed although they had a program, including those not reached."""
    table, device = schema.measurement, schema.device
    chosen = (
        select(table.c.run_id, device.c.name)
        .select_from(table.join(device))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured", table.c.status == "failed", ON_A_DEVICE)
        .distinct()
    )
    return _by_run(connection.execute(chosen).all())


def _reached(connection: Connection, run_ids: Sequence[str]) -> dict[str, set[str]]:
    state, device = schema.device_state, schema.device
    chosen = select(state.c.run_id, device.c.name).select_from(state.join(device)).where(state.c.run_id.in_(run_ids))
    return _by_run(connection.execute(chosen).all())


def _by_run(rows: Iterable[Sequence[Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run_id, name in rows:
        found.setdefault(run_id, set()).add(name)
    return found


def _latencies(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[tuple[str, str], float]]:
    point, series, table = schema.point, schema.series, schema.measurement
    chosen = (
        select(table.c.run_id, series.c.device_name, series.c.workload_key, point.c.value)
        .select_from(point.join(series).join(table))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured", series.c.metric == LATENCY)
    )
    found: dict[str, dict[tuple[str, str], float]] = {}
    for run_id, name, key, value in connection.execute(chosen):
        found.setdefault(run_id, {})[name, key] = value
    return found
