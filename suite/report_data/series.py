"""Reads the history of a workload on a device by metric, with segments, change points, verdicts and remarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from foundation.unavailable import Unavailable
from reports.model.histories import (
    Change,
    Confirmed,
    HistoryPoint,
    HistorySegment,
    MetricHistory,
    Remark,
    SeriesVerdict,
)
from reports.model.quantities import LATENCY, METRIC_BY_NAME
from reports.model.reading import Interval, known_number, value
from reports.model.statistics import Latency
from suite.regression.change_points import change_points
from suite.regression.drift import total_drift
from suite.regression.log_ratios import Direction
from suite.regression.segments import Point, Segment, segments, since_device_change
from suite.store import schema
from suite.store.nights import acceptances_among
from suite.store.points import accepted_points, why_aside

ACCEPTED = "accepted"
MADE_BY = ("edge-training-suite", "torch", "executorch", "torchao", "label")
_DEVICE_LEVEL, _DRIFT_TRACED = "device_level", "drift_traced"


class _Point(NamedTuple):
    """A row of the table of points, which has hundreds of thousands."""

    series_id: int
    measurement_id: int
    value: float


@dataclass(frozen=True)
class _PointSource:
    """The measurement of a point, without its value."""

    run_id: str
    at: str
    status: str
    interval: Interval | Unavailable
    sessions: int | None
    design: str | None
    aside: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Comments:
    """Verdicts (the last one, with its numbers) and acceptances by (series, measurement), and remarks by series."""

    verdicts: Mapping[tuple[int, int], tuple[str, Mapping[str, Any]]]
    accepted: frozenset[tuple[int, int]]
    remarks: Mapping[int, Sequence[Remark]]


def workload_history(connection: Connection, device: str, workload_key: str) -> list[MetricHistory]:
    """Returns every metric of the workload that has points on the device."""
    chosen = (schema.series.c.device_name == device) & (schema.series.c.workload_key == workload_key)
    rows = connection.execute(select(schema.series).where(chosen)).all()
    ids = [row.id for row in rows]
    points: dict[int, list[_Point]] = {}
    for series_id, measurement_id, level in connection.execute(_points_of(ids)).all():
        points.setdefault(series_id, []).append(_Point(series_id, measurement_id, level))
    found = _measurements(connection, sorted({point.measurement_id for own in points.values() for point in own}))
    comments = _comments(connection, ids, found)
    by_metric: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if row.id in points:
            by_metric.setdefault(row.metric, []).append(row)
    return [_history(own, points, found, comments) for own in by_metric.values()]


def _points_of(series_ids: Sequence[int]) -> Any:
    point = schema.point
    return select(point.c.series_id, point.c.measurement_id, point.c.value).where(point.c.series_id.in_(series_ids))


def _measurements(connection: Connection, ids: Sequence[int]) -> dict[int, _PointSource]:
    table = schema.measurement
    columns = (
        *(table.c.id, table.c.run_id, table.c.started_at, table.c.status, table.c.document),
        *(table.c.design, table.c.valid_sessions, schema.run.c.purpose, schema.run.c.environment),
    )
    found: dict[int, _PointSource] = {}
    for begin in range(0, len(ids), 900):
        chosen = (table.c.id.in_(ids[begin : begin + 900])) & (table.c.role == "measured")
        for row in connection.execute(select(*columns).select_from(table.join(schema.run)).where(chosen)):
            latency = Latency.from_document(value(json.loads(row.document or "{}"), LATENCY))
            medians = latency.sessions_ms
            found[row.id] = _PointSource(
                row.run_id,
                row.started_at,
                row.status or "unknown",
                latency.ci95_ms,
                None if isinstance(medians, Unavailable) else len(medians),
                row.design,
                why_aside(row),
                _versions(row.environment),
            )
    return found


@lru_cache(maxsize=64)
def _versions(environment: str | None) -> Mapping[str, str]:
    """Returns the versions of what made a run's programs. Many nights have the same text."""
    parsed = json.loads(environment or "{}")
    return {name: str(parsed[name]) for name in MADE_BY if name in parsed}


def _comments(connection: Connection, series_ids: Sequence[int], found: Mapping[int, _PointSource]) -> _Comments:
    verdict, acceptance, annotation = schema.verdict, schema.acceptance, schema.annotation
    verdicts = {
        (series_id, measurement_id): (word, json.loads(numbers))
        for series_id, measurement_id, word, numbers in connection.execute(
            select(verdict.c.series_id, verdict.c.measurement_id, verdict.c.verdict, verdict.c.numbers)
            .where(verdict.c.series_id.in_(series_ids))
            .order_by(verdict.c.id)
        ).all()
    }
    remarks: dict[int, list[Remark]] = {}
    accepted = set()
    for row in connection.execute(select(acceptance).where(acceptance.c.series_id.in_(series_ids))):
        source = found.get(row.measurement_id)
        accepted.add((row.series_id, row.measurement_id))
        run_id = source.run_id if source else ""
        remarks.setdefault(row.series_id, []).append(Remark("accepted", row.at, row.author, row.why, run_id))
    runs = {source.run_id: source.at for source in found.values()}
    for row in connection.execute(
        select(annotation).where(annotation.c.series_id.in_(series_ids) | annotation.c.run_id.is_not(None))
    ):
        if row.series_id is None and row.run_id not in runs:
            continue
        remark = Remark("annotation", runs.get(row.run_id or "", row.at), row.author, row.text, row.run_id or "")
        for series_id in series_ids if row.series_id is None else (row.series_id,):
            remarks.setdefault(series_id, []).append(remark)
    return _Comments(verdicts, frozenset(accepted), remarks)


def _history(
    rows: Sequence[Row[Any]],
    points: Mapping[int, Sequence[_Point]],
    found: Mapping[int, _PointSource],
    comments: _Comments,
) -> MetricHistory:
    """Returns the history of a metric, with the segments of all its fingerprints in order of time."""
    marks = {row.id: row.fingerprint for row in rows}
    metric, direction = rows[0].metric, rows[0].direction
    own = [point for series_id in marks for point in points[series_id] if point.measurement_id in found]
    own.sort(key=lambda point: (found[point.measurement_id].at, point.measurement_id))
    sources = [found[point.measurement_id] for point in own]
    seen = _among_nights([_as_point(point, marks[point.series_id], comments) for point in own], sources)
    parts = segments(seen)
    floor = METRIC_BY_NAME[metric].floor if metric in METRIC_BY_NAME else 0.0
    drift = total_drift(since_device_change(seen), direction, floor) if seen else None
    remarks = dict.fromkeys(remark for series_id in marks for remark in comments.remarks.get(series_id, ()))
    return MetricHistory(
        metric=metric,
        direction=direction,
        points=[_history_point(point, metric, found[point.measurement_id], comments) for point in own],
        segments=[HistorySegment(part.start, part.stop, _reason(part, seen)) for part in parts],
        changes=[change for part in parts for change in _changes(seen, part, direction, floor)],
        remarks=sorted(remarks, key=lambda remark: remark.at),
        drift="" if drift is None else drift.sentence,
    )


def _as_point(point: _Point, fingerprint: str, comments: _Comments) -> Point:
    place = (point.series_id, point.measurement_id)
    word, numbers = comments.verdicts.get(place, ("", {}))
    accepted = place in comments.accepted
    return Point(
        value=point.value,
        fingerprint=fingerprint,
        accepted=accepted,
        excluded=word == "regressed" and not accepted,
        device_level=numbers.get(_DEVICE_LEVEL),
        drift_traced=bool(numbers.get(_DRIFT_TRACED, 0.0)),
    )


def _among_nights(points: Sequence[Point], sources: Sequence[_PointSource]) -> list[Point]:
    """Returns the points as the history of nights takes them.

    Other points open no segment and don't count, while an acceptance of one holds from the next night on. If there are
    no nights, all points count.
    """
    if all(source.aside for source in sources):
        return list(points)
    pairs = list(zip(points, sources, strict=True))
    marks = [None if source.aside else f"{point.fingerprint}/{source.design}" for point, source in pairs]
    held = acceptances_among([point.accepted for point in points], [mark is not None for mark in marks])
    current = next(mark for mark in marks if mark is not None)
    found = list[Point]()
    for point, mark, accepted in zip(points, marks, held, strict=True):
        current = mark or current
        found.append(replace(point, fingerprint=current, accepted=accepted, aside=mark is None))
    return found


def _reason(part: Segment, points: Sequence[Point]) -> str:
    """Returns what opened a segment; among nights, another design of the plan also does."""
    if part.reason != "device changed":
        return part.reason
    before, now = (points[place].fingerprint.partition("/")[0] for place in (part.start - 1, part.start))
    return part.reason if before != now else "other sessions or steps"


def _changes(points: Sequence[Point], part: Segment, direction: Direction, floor: float) -> list[Change]:
    places = [place for place in range(part.start, part.stop) if not points[place].aside]
    return [
        Change(places[found.at], found.side, found.before, found.after)
        for found in change_points([points[place].value for place in places], direction, floor)
    ]


def _history_point(point: _Point, metric: str, source: _PointSource, comments: _Comments) -> HistoryPoint:
    ends = source.interval if isinstance(source.interval, Interval) and metric == LATENCY else None
    place = (point.series_id, point.measurement_id)
    verdict, numbers = comments.verdicts.get(place, ("", {}))
    word = settled(verdict, place in comments.accepted)
    named = (source.at, source.run_id, str(point.measurement_id), point.value, source.status)
    low, high = (None, None) if ends is None else (ends.low, ends.high)
    seen = HistoryPoint(*named, low, high, source.sessions, word, source.aside, versions=source.versions)
    centre, margin = (known_number(numbers, key) for key in ("centre", "margin"))
    return replace(seen, centre=centre, margin=margin, confirmed=_confirmed(numbers))


def _confirmed(numbers: Mapping[str, Any]) -> Confirmed | None:
    ratio, low, high, pairs = (known_number(numbers, key) for key in ("ratio", "ratio_low", "ratio_high", "pairs"))
    if ratio is None or low is None or high is None or pairs is None:
        return None
    return Confirmed(ratio, low, high, int(pairs))


def settled(word: str, accepted: bool) -> str:
    """Returns the verdict that counts: a regression whose level was accepted no longer is one."""
    return ACCEPTED if accepted and word == "regressed" else word


def night_verdicts(connection: Connection, run_id: str) -> list[SeriesVerdict]:
    """Returns the verdicts of a run in the order in which they were made; of a series judged twice, the last one."""
    verdict, series, measurement, point = schema.verdict, schema.series, schema.measurement, schema.point
    same = (point.c.measurement_id == verdict.c.measurement_id) & (point.c.series_id == verdict.c.series_id)
    statement = (
        select(
            verdict,
            series.c.device_name,
            series.c.workload_key,
            series.c.metric,
            series.c.direction,
            series.c.emulated,
            measurement.c.workload,
            point.c.value,
        )
        .select_from(verdict.join(series).join(measurement).outerjoin(point, same))
        .where(measurement.c.run_id == run_id)
        .order_by(verdict.c.id)
    )
    found: dict[int, SeriesVerdict] = {}
    accepted = {tuple(row) for row in connection.execute(accepted_points())}
    for row in connection.execute(statement).mappings():
        found[row["series_id"]] = SeriesVerdict(
            device=row["device_name"],
            workload_key=row["workload_key"],
            workload=json.loads(row["workload"]),
            metric=row["metric"],
            direction=row["direction"],
            emulated=bool(row["emulated"]),
            measurement_id=str(row["measurement_id"]),
            verdict=settled(row["verdict"], (row["series_id"], row["measurement_id"]) in accepted),
            rule=row["rule"],
            at=row["at"],
            value=row["value"],
            numbers=json.loads(row["numbers"]),
            inputs=json.loads(row["inputs"]),
            series_id=row["series_id"],
        )
    return list(found.values())
