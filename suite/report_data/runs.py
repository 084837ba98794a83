"""Summaries of all runs, each with a stamp that changes with the content of its pages."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache

from sqlalchemy import Connection, case, func, select

from reports.model.measurement import setting_of
from reports.model.reading import text
from reports.model.source import RunSummary
from suite.store import schema
from suite.store.dialect import Row
from suite.store.identity import IMPORTED, IMPORTED_FROM, stamp
from suite.store.tags import newest_remarks, tags_by_run

#: Verdicts are counted only for the newest nights, which the overview lists.
NIGHTS_COUNTED = 30
_STAMPED = ("id", "status", "finished_at")


def run_summaries(connection: Connection) -> list[RunSummary]:
    """Returns every run, newest first."""
    rows = connection.execute(select(schema.run).order_by(schema.run.c.id.desc())).mappings().all()
    in_run = _measurements(connection)
    nights = [row["id"] for row in rows if row["purpose"] == "nightly"][:NIGHTS_COUNTED]
    verdicts = _verdict_counts(connection, nights)
    unfinished = [row["id"] for row in rows if row["finished_at"] is None]
    sessions, remarks = _session_counts(connection, unfinished), newest_remarks(connection)
    tags = tags_by_run(connection)
    return [
        _summary(row, in_run.get(row["id"], []), verdicts.get(row["id"], {}),
                 (sessions.get(row["id"]), remarks.get(row["id"])), tags.get(row["id"], []))
        for row in rows
    ]  # fmt: skip


def _measurements(connection: Connection) -> dict[str, list[Row]]:
    """Returns the measurements of each run: device, workload, and whether it is finished."""
    table = schema.measurement
    statement = (
        select(table.c.run_id, schema.device.c.name, table.c.workload, table.c.finished_at)
        .select_from(table.join(schema.device))
        .where(table.c.role == "measured")
        .order_by(table.c.id)
    )
    found: dict[str, list[Row]] = {}
    for row in connection.execute(statement).mappings():
        found.setdefault(row["run_id"], []).append(row)
    return found


def _verdict_counts(connection: Connection, run_ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Counts the verdicts of each run; if a series was judged twice, the last one counts."""
    verdict, measurement = schema.verdict, schema.measurement
    last = (
        select(func.max(verdict.c.id).label("id"), measurement.c.run_id)
        .select_from(verdict.join(measurement))
        .where(measurement.c.run_id.in_(list(run_ids)))
        .group_by(measurement.c.run_id, verdict.c.series_id)
        .subquery()
    )
    acceptance = schema.acceptance
    accepted = (
        select(acceptance.c.id)
        .where(acceptance.c.series_id == verdict.c.series_id, acceptance.c.measurement_id == verdict.c.measurement_id)
        .exists()
    )
    word = case((accepted & (verdict.c.verdict == "regressed"), "accepted"), else_=verdict.c.verdict).label("word")
    statement = (
        select(last.c.run_id, word, func.count())
        .select_from(last.join(verdict, verdict.c.id == last.c.id))
        .group_by(last.c.run_id, word)
    )
    found: dict[str, dict[str, int]] = {}
    for run_id, name, count in connection.execute(statement):
        found.setdefault(run_id, {})[name] = count
    return found


def _session_counts(connection: Connection, run_ids: Iterable[str]) -> dict[str, int]:
    statement = (
        select(schema.measurement.c.run_id, func.count())
        .select_from(schema.session.join(schema.measurement))
        .where(schema.measurement.c.run_id.in_(list(run_ids)))
        .group_by(schema.measurement.c.run_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _summary(
    run: Row, in_run: list[Row], verdicts: Mapping[str, int], counts: tuple[object, ...], tags: list[str]
) -> RunSummary:
    finished = [row["finished_at"] for row in in_run if row["finished_at"] is not None]
    return RunSummary(
        run_id=run["id"],
        started_at=run["started_at"],
        finished_at=run["finished_at"],
        status=run["status"],
        command=shlex.join(json.loads(run["command"])),
        devices=list(dict.fromkeys(row["name"] for row in in_run)),
        settings=list(dict.fromkeys(setting_in(row["workload"]) for row in in_run)),
        measurements=len(in_run),
        purpose=run["purpose"],
        verdicts=dict(verdicts),
        tags=tags,
        origin=_origin(run),
        stamp=stamp(
            *(run[key] for key in _STAMPED),
            len(in_run),
            sorted(finished)[-1:],
            sorted(verdicts.items()),
            counts,
            tags,
        ),
    )


def _origin(run: Row) -> str:
    if run["purpose"] != IMPORTED:
        return ""
    return text(json.loads(run["environment"]), IMPORTED_FROM, default="another lab")


@lru_cache(maxsize=4096)
def setting_in(workload: str) -> str:
    """Returns the quantization setting in the JSON of a workload."""
    return setting_of(json.loads(workload))
