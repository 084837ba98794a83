"""Series over runs, for `suite history`: points in time order, in segments that are never compared across."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from suite.store import schema
from suite.store.store import Store


@dataclass(frozen=True)
class SeriesSummary:
    """One metric of one workload on one device, all its segments together."""

    device: str
    workload_key: str
    metric: str
    direction: str
    emulated: bool
    segments: int
    points: int

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return f"{self.device}/{self.workload_key}/{self.metric}"


@dataclass(frozen=True)
class HistoryPoint:
    """One measurement's value. `segment` counts from 0 and rises whenever the fingerprint is a new one."""

    series_id: int
    measurement_id: int
    run_id: str
    at: str
    value: float
    status: str
    fingerprint: str
    segment: int


def series_list(store: Store) -> list[SeriesSummary]:
    """Every series there is, by device, workload and metric."""
    table = schema.series
    names = (table.c.device_name, table.c.workload_key, table.c.metric, table.c.direction, table.c.emulated)
    statement = (
        select(*names, func.count(table.c.fingerprint.distinct()), func.count(schema.point.c.measurement_id))
        .select_from(table.join(schema.point))
        .group_by(*names)
        .order_by(*names)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return [SeriesSummary(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6]) for row in rows]


def history(store: Store, device: str, workload_key: str, metric: str) -> list[HistoryPoint]:
    """The points of one series, oldest run first; empty when nothing is known of it."""
    statement = (
        select(
            schema.point.c.series_id,
            schema.point.c.measurement_id,
            schema.measurement.c.run_id,
            schema.measurement.c.started_at,
            schema.point.c.value,
            schema.measurement.c.status,
            schema.series.c.fingerprint,
        )
        .select_from(schema.point.join(schema.series).join(schema.measurement))
        .where(
            schema.series.c.device_name == device,
            schema.series.c.workload_key == workload_key,
            schema.series.c.metric == metric,
        )
        .order_by(schema.measurement.c.started_at, schema.measurement.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    segments: dict[str, int] = {}
    points: list[HistoryPoint] = []
    for series_id, measurement_id, run_id, at, value, status, mark in rows:
        segment = segments.setdefault(mark, len(segments))
        points.append(HistoryPoint(series_id, measurement_id, run_id, at, value, status, mark, segment))
    return points
