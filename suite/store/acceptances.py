"""Accepts new levels: from an accepted point on, its series is compared only with later points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from foundation.errors import UserError
from suite.store import schema
from suite.store.history import Series
from suite.store.identity import timestamp
from suite.store.store import Store


@dataclass(frozen=True)
class SeriesPoint:
    """One point of a series, and where it was measured."""

    series: str
    series_id: int
    measurement_id: int
    run_id: str


def newest_point(store: Store, series: Series, run_id: str | None = None) -> SeriesPoint:
    """Returns the newest point of a series, or that of a run. UserError if the run has none."""
    table = schema.series
    chosen = _points().where(
        table.c.device_name == series.device,
        table.c.workload_key == series.workload_key,
        table.c.metric == series.metric,
    )
    if run_id is not None:
        chosen = chosen.where(schema.measurement.c.run_id == run_id)
    measurement = schema.measurement
    newest = chosen.order_by(measurement.c.started_at.desc(), measurement.c.id.desc()).limit(1)
    with store.database.reading() as connection:
        found = _read(connection, newest)
    if not found:
        raise UserError(f"run {run_id} has no point of {series.name}: see `suite history {series.name}`")
    return found[0]


def regressed_points(store: Store, run_id: str, *, accepted: bool = False) -> list[SeriesPoint]:
    """Returns the points of a run whose last verdict is `regressed`, with or without those that somebody `accepted`."""
    point, verdict = schema.point, schema.verdict
    words: dict[tuple[int, int], str] = {}
    with store.database.reading() as connection:
        points = _read(connection, _points().where(schema.measurement.c.run_id == run_id).order_by(point.c.series_id))
        statement = (
            select(verdict.c.series_id, verdict.c.measurement_id, verdict.c.verdict)
            .select_from(verdict.join(schema.measurement))
            .where(schema.measurement.c.run_id == run_id)
            .order_by(verdict.c.id)
        )
        for series_id, measurement_id, word in connection.execute(statement):
            words[series_id, measurement_id] = word
        for series_id, measurement_id in () if accepted else connection.execute(accepted_points()):
            words.pop((series_id, measurement_id), None)
    return [item for item in points if words.get((item.series_id, item.measurement_id)) == "regressed"]


def accepted_points() -> Select[Any]:
    """Selects series and measurement of every accepted point."""
    return select(schema.acceptance.c.series_id, schema.acceptance.c.measurement_id)


def accept_points(store: Store, points: Sequence[SeriesPoint], author: str, why: str) -> None:
    """Accepts all points or, with a UserError that names who accepted one before, none."""
    table = schema.acceptance
    with store.database.writing() as connection:
        for item in points:
            place = (table.c.series_id == item.series_id) & (table.c.measurement_id == item.measurement_id)
            known = connection.execute(select(table.c.author, table.c.at).where(place)).first()
            if known is not None:
                raise UserError(
                    f"{item.series} is accepted from run {item.run_id} on already, by {known.author} at {known.at}: "
                    "nothing is left to do"
                )
        connection.execute(
            insert(table),
            [
                {
                    "series_id": item.series_id,
                    "measurement_id": item.measurement_id,
                    "at": timestamp(),
                    "author": author,
                    "why": why,
                }
                for item in points
            ],
        )


def _points() -> Select[Any]:
    series, point, measurement = schema.series, schema.point, schema.measurement
    return select(
        series.c.device_name,
        series.c.workload_key,
        series.c.metric,
        point.c.series_id,
        point.c.measurement_id,
        measurement.c.run_id,
    ).select_from(point.join(series).join(measurement))


def _read(connection: Connection, statement: Select[Any]) -> list[SeriesPoint]:
    return [
        SeriesPoint(f"{device}/{key}/{metric}", series_id, measurement_id, run_id)
        for device, key, metric, series_id, measurement_id, run_id in connection.execute(statement)
    ]
