"""Reads series: their names, for `suite history` and for finding them, their verdicts, and their accepted levels.

From an accepted point on, a series is compared only with that point and later ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Subquery, case, func, insert, select, true

from foundation.errors import UserError
from suite.store import schema
from suite.store.identity import timestamp
from suite.store.points import accepted_points, is_of_night
from suite.store.store import Store


@dataclass(frozen=True)
class Series:
    """A metric of a workload on a device, with all its segments."""

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
    """Returns every series with a point, by device, workload and metric. It is fast, however many points there are."""
    names = _names()
    has_point = select(schema.point.c.series_id).where(schema.point.c.series_id == schema.series.c.id).exists()
    with store.database.reading() as connection:
        rows = connection.execute(select(*names).where(has_point).distinct().order_by(*names)).all()
    return [Series(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]


def series_list(store: Store, names: Collection[str] | None = None) -> list[SeriesSummary]:
    """Returns all series, or those with `names`, with their numbers of segments and points.

    This reads every point of these series.
    """
    series, point, measurement = schema.series, schema.point, schema.measurement
    named_by = _names()
    # Names are numbered over the few series instead of the many points.
    of_name = (
        select(series.c.id, series.c.fingerprint, func.min(series.c.id).over(partition_by=named_by).label("named"))
        .where(_has_name(store, names))
        .subquery()
    )
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
        select(*named_by, counted.c.segments, counted.c.points)
        .select_from(counted.join(series, counted.c.named == series.c.id))
        .order_by(*named_by)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return [SeriesSummary(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6]) for row in rows]


def _count_segments(each: Subquery) -> Select[Any]:
    """Selects the numbers of a name's segments and points, as `suite.regression.segments` and a series' page count.

    A fingerprint or design that differs from the one before, or an acceptance, opens a segment. If a series has nights,
    only they do.
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


def _has_name(store: Store, names: Collection[str] | None) -> ColumnElement[bool]:
    """Returns the condition that a series has one of the names; None stands for all."""
    table = schema.series
    if names is None:
        return true()
    with store.database.reading() as connection:
        rows = connection.execute(select(table.c.id, table.c.device_name, table.c.workload_key, table.c.metric)).all()
    return table.c.id.in_([series_id for series_id, *parts in rows if "/".join(parts) in names])


RECENT_POINTS = 20


@dataclass(frozen=True)
class SeriesNews:
    """The newest points of a series, oldest first and at most RECENT_POINTS, and when the last was measured."""

    at: str
    values: tuple[float, ...]


def series_news(store: Store, names: Collection[str]) -> dict[str, SeriesNews]:
    """Returns the news of the series with these names, by name."""
    found: dict[str, list[tuple[str, float]]] = {}
    statement = _recent_points(_has_name(store, names))
    with store.database.reading() as connection:
        for device, key, metric, at, value in connection.execute(statement):
            found.setdefault(f"{device}/{key}/{metric}", []).append((at, value))
    return {name: SeriesNews(points[-1][0], tuple(value for _, value in points)) for name, points in found.items()}


def _recent_points(chosen: ColumnElement[bool]) -> Select[Any]:
    series, point, measurement = schema.series, schema.point, schema.measurement
    names = (series.c.device_name, series.c.workload_key, series.c.metric)
    named = select(series.c.id, func.min(series.c.id).over(partition_by=names).label("named")).where(chosen).subquery()
    newest_first = (measurement.c.started_at.desc(), measurement.c.id.desc())
    place = func.row_number().over(partition_by=named.c.named, order_by=newest_first).label("place")
    each = (
        select(named.c.named, measurement.c.started_at, point.c.value, place)
        .select_from(point.join(named, point.c.series_id == named.c.id).join(measurement))
        .subquery()
    )
    return (
        select(*names, each.c.started_at, each.c.value)
        .select_from(each.join(series, each.c.named == series.c.id))
        .where(each.c.place <= RECENT_POINTS)
        .order_by(each.c.named, each.c.place.desc())
    )


def last_verdicts(store: Store) -> dict[str, str]:
    """Returns the last verdict on each series that has one, by name; `accepted` for an accepted regression."""
    verdict, series, acceptance = schema.verdict, schema.series, schema.acceptance
    last = select(func.max(verdict.c.id)).group_by(verdict.c.series_id)
    accepted = (
        select(acceptance.c.id)
        .where(acceptance.c.series_id == verdict.c.series_id, acceptance.c.measurement_id == verdict.c.measurement_id)
        .exists()
    )
    word = case((accepted & (verdict.c.verdict == "regressed"), "accepted"), else_=verdict.c.verdict)
    statement = (
        select(series.c.device_name, series.c.workload_key, series.c.metric, word)
        .select_from(verdict.join(series))
        .where(verdict.c.id.in_(last))
        .order_by(verdict.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return {f"{device}/{key}/{metric}": found for device, key, metric, found in rows}


@dataclass(frozen=True)
class StoredVerdict:
    """A verdict as it is stored."""

    at: str
    run_id: str
    verdict: str
    rule: str
    cause: str | None
    sentence: str
    command: str | None


def verdicts_on(store: Store, series: Series) -> list[StoredVerdict]:
    """Returns every verdict on the series, with any fingerprint, in the order in which they were made."""
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


@dataclass(frozen=True)
class SeriesPoint:
    """A point of a series, and where it was measured."""

    series: str
    series_id: int
    measurement_id: int
    run_id: str


def newest_point(store: Store, series: Series, run_id: str | None = None) -> SeriesPoint:
    """Returns the newest point of a series, or the point of a run. Raises UserError if the run has none."""
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


def accept_points(store: Store, points: Sequence[SeriesPoint], author: str, why: str) -> None:
    """Accepts all points, or raises UserError and accepts none if somebody has accepted one before."""
    table = schema.acceptance
    with store.database.writing() as connection:
        for item in points:
            place = (table.c.series_id == item.series_id) & (table.c.measurement_id == item.measurement_id)
            known = connection.execute(select(table.c.author, table.c.at).where(place)).first()
            if known is not None:
                raise UserError(
                    f"{item.series} was already accepted from run {item.run_id} on, by {known.author} at {known.at}: "
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


@dataclass(frozen=True)
class NightPoint:
    """A night's point of a series, and the program and runner that it was measured with.

    `regressed`: the last verdict on it is `regressed`, and nobody has accepted it.
    """

    run_id: str
    at: str
    value: float
    artifact_hash: str | None
    runner_hash: str | None
    regressed: bool


def nights_of_series(store: Store, series: Series) -> list[NightPoint]:
    """Returns the nights' points of a series, oldest first."""
    table, measurement, verdict = schema.series, schema.measurement, schema.verdict
    is_this = (
        (table.c.device_name == series.device)
        & (table.c.workload_key == series.workload_key)
        & (table.c.metric == series.metric)
    )
    made_with = (measurement.c.started_at, schema.point.c.value, measurement.c.artifact_hash, measurement.c.runner_hash)
    points = _points().add_columns(*made_with).join(schema.run).where(is_this & is_of_night())
    words = select(verdict.c.series_id, verdict.c.measurement_id, verdict.c.verdict).join(table).where(is_this)
    with store.database.reading() as connection:
        rows = connection.execute(points.order_by(measurement.c.started_at, measurement.c.id)).all()
        last = {tuple(row[:2]): row[2] for row in connection.execute(words.order_by(verdict.c.id))}
        accepted = {tuple(row) for row in connection.execute(accepted_points())}
    return [
        NightPoint(
            *(row.run_id, row.started_at, row.value, row.artifact_hash, row.runner_hash),
            last.get(place) == "regressed" and place not in accepted,
        )
        for row, place in ((row, (row.series_id, row.measurement_id)) for row in rows)
    ]
