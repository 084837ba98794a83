"""Lists all series, for `suite history` and for resolving names, and the verdicts on a series."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, Subquery, case, func, select

from suite.store import schema
from suite.store.nights import is_of_night
from suite.store.store import Store


@dataclass(frozen=True)
class Series:
    """One metric of one workload on one device, all its segments together."""

    device: str
    workload_key: str
    metric: str
    direction: str
    emulated: bool

    @property
    def name(self) -> str:
        """The name that the command line takes."""
        return f"{self.device}/{self.workload_key}/{self.metric}"


@dataclass(frozen=True)
class SeriesSummary(Series):
    """A series with its numbers of segments and points."""

    segments: int
    points: int


def series_names(store: Store) -> list[Series]:
    """Returns every series with a point, by device, workload and metric; fast, however many points there are."""
    names = _names()
    has_point = select(schema.point.c.series_id).where(schema.point.c.series_id == schema.series.c.id).exists()
    with store.database.reading() as connection:
        rows = connection.execute(select(*names).where(has_point).distinct().order_by(*names)).all()
    return [Series(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]


def series_list(store: Store) -> list[SeriesSummary]:
    """Returns the same with their numbers of segments and points, for which every point is read."""
    series, point, measurement = schema.series, schema.point, schema.measurement
    names = _names()
    # Names are numbered among the series, which are few, not among the many points.
    of_name = select(
        series.c.id, series.c.fingerprint, func.min(series.c.id).over(partition_by=names).label("named")
    ).subquery()
    accepted = (
        select(schema.acceptance.c.id)
        .where(schema.acceptance.c.series_id == point.c.series_id)
        .where(schema.acceptance.c.measurement_id == point.c.measurement_id)
        .exists()
    )
    named, in_time = of_name.c.named, (measurement.c.started_at, measurement.c.id)
    night = case((is_of_night(), 1), else_=0)
    mark = of_name.c.fingerprint + case((night == 1, "/" + func.coalesce(measurement.c.design, "")), else_="")
    each = (
        select(
            *(named, night.label("night"), mark.label("mark"), *in_time),
            func.max(night).over(partition_by=named).label("nights"),
            func.sum(case((accepted, 1), else_=0)).over(partition_by=named, order_by=in_time).label("acceptances"),
        )
        .select_from(point.join(of_name, point.c.series_id == of_name.c.id).join(measurement).join(schema.run))
        .subquery()
    )
    counted = _count_segments(each).subquery()
    statement = (
        select(*names, counted.c.segments, counted.c.points)
        .select_from(counted.join(series, counted.c.named == series.c.id))
        .order_by(*names)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return [SeriesSummary(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6]) for row in rows]


def _count_segments(each: Subquery) -> Select[Any]:
    """Selects how many segments and points a name has, as `suite.regression.segments` and the page of a series do.

    Another fingerprint or design than before, or an acceptance since, opens a segment; where there are nights, only
    they do.
    """
    kept, in_time = (each.c.named, each.c.night), (each.c.started_at, each.c.id)
    mark, acceptances = (
        func.lag(column).over(partition_by=kept, order_by=in_time) for column in (each.c.mark, each.c.acceptances)
    )
    other = mark.is_distinct_from(each.c.mark) | (acceptances < each.c.acceptances)
    opens = (each.c.night == each.c.nights) & other
    opened = select(each.c.named, case((opens, 1), else_=0).label("opens")).subquery()
    counts = (func.sum(opened.c.opens).label("segments"), func.count().label("points"))
    return select(opened.c.named, *counts).group_by(opened.c.named)


def _names() -> tuple[Column[Any], ...]:
    series = schema.series
    return series.c.device_name, series.c.workload_key, series.c.metric, series.c.direction, series.c.emulated


@dataclass(frozen=True)
class StoredVerdict:
    """One verdict, as stored."""

    at: str
    run_id: str
    verdict: str
    rule: str
    cause: str | None
    sentence: str
    command: str | None


def verdicts_on(store: Store, series: Series) -> list[StoredVerdict]:
    """Returns every verdict on the series, whatever its fingerprint, in the order in which they were made."""
    table, named = schema.verdict, schema.series
    statement = (
        select(table.c.at, schema.measurement.c.run_id, table.c.verdict, table.c.rule, table.c.inputs)
        .select_from(table.join(named).join(schema.measurement))
        .where(
            named.c.device_name == series.device,
            named.c.workload_key == series.workload_key,
            named.c.metric == series.metric,
        )
        .order_by(table.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    found = []
    for row in rows:
        inputs = json.loads(row.inputs)
        words = (inputs.get("cause"), str(inputs.get("sentence") or ""), inputs.get("command"))
        found.append(StoredVerdict(row.at, row.run_id, row.verdict, row.rule, *words))
    return found
