"""Trainings for reports: a line for each command, and all of one."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from reports.model.training import TrainingGroup, TrainingGroupSummary, way_of
from suite.results.race import races
from suite.store import schema
from suite.store.database import Database
from suite.store.dialect import Row
from suite.store.identity import stamp
from suite.store.trainings import Trainings


def group_summaries(connection: Connection) -> list[TrainingGroupSummary]:
    """Returns the trainings of every command, the newest first."""
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
    progress, ends = _progress(connection), _last_accuracies(connection)
    return [_summary(group, in_group.get(group["id"], []), progress, ends) for group in groups]


def _progress(connection: Connection) -> dict[str, list[object]]:
    """Returns what changes whenever a training goes on: how many segments and evaluations it has, and the newest."""
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


def _summary(
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
