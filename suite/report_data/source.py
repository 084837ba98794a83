"""The store as a `reports.model.source.ReportSource`."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import select

from reports.model.findings import Finding
from reports.model.histories import (
    Compared,
    DeviceSummary,
    HealthPoint,
    HistorySummary,
    MetricHistory,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.model.nights import Recent
from reports.model.source import RunContents, RunSummary, Samples, SessionTrace, Step
from reports.model.training import TrainingGroup, TrainingGroupSummary
from suite.report_data import comparison, device_histories, nights, runs, trainings
from suite.report_data import series as verdicts
from suite.results import findings
from suite.store import schema
from suite.store.session_rows import load_samples
from suite.store.store import Store


class StoreSource:
    """Runs, histories and traces of one store, read-only.

    The list of workloads is read once: create a new source after the store has changed.
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
        """Returns a run with its measurements. UserError for an unknown one."""
        return RunContents.from_document(self.document(run_id))

    def surroundings(self, run_id: str) -> RunContents:
        """Returns a run without its measurements. UserError for an unknown one."""
        with self._store.database.reading() as connection:
            return RunContents.from_document(runs.surroundings(connection, run_id))

    def trace(self, session_id: str) -> SessionTrace:
        """Returns the steps and samples of one session, empty if there is no such session."""
        chosen = select(schema.sample).where(schema.sample.c.session_id == session_id).order_by(schema.sample.c.id)
        with self._store.database.reading() as connection:
            rows = connection.execute(chosen).mappings().all()
        steps, traces = load_samples(rows)
        return SessionTrace(
            steps=[Step(step.index, step.phase, step.t0_ns, step.t1_ns, step.losses) for step in steps],
            samples={name: Samples(trace.quantity, trace.t_ns, trace.values) for name, trace in traces.items()},
        )

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        """Returns the verdicts of a night, none for a run that was not judged."""
        with self._store.database.reading() as connection:
            return verdicts.night_verdicts(connection, run_id)

    def findings(self, run_id: str) -> list[Finding]:
        """Returns the findings of a night in the order in which they are read, none for a run that was not judged."""
        with self._store.database.reading() as connection:
            return findings.findings_of_night(connection, run_id)

    def recent(self) -> Recent:
        """Returns the newest nights as their devices had them, or without any what the newest run measured."""
        with self._store.database.reading() as connection:
            found = nights.newest_nights(connection)
            newest = nights.newest_own_run(connection) if not found else None
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
        """Returns every metric of a workload on a device, none if it is unknown."""
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
        """Compares two runs. UserError for an unknown one."""
        return comparison.compare_runs(self.run(before), self.run(after))

    def training_groups(self) -> list[TrainingGroupSummary]:
        """Returns the trainings of every command, newest first."""
        with self._store.database.reading() as connection:
            return trainings.group_summaries(connection)

    def training_group(self, group_id: str) -> TrainingGroup:
        """Returns the trainings of a command with their races."""
        return trainings.group_contents(self._store.database, group_id)

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
