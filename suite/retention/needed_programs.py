"""Finds the programs and runners that future nights may measure again: those of each series' comparison window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from suite.nightly.evidence import as_point
from suite.regression.screen import HISTORY_POINTS, NEWEST_LEFT_OUT
from suite.regression.segments import segments
from suite.store import schema
from suite.store.identity import ORIGIN_MARK
from suite.store.nights import StoredPoint, history_of
from suite.store.points import is_night
from suite.store.store import Store

WINDOW = HISTORY_POINTS + NEWEST_LEFT_OUT
"""The number of a segment's newest points with which a night is, or will be, compared."""


@dataclass(frozen=True)
class MadeWith:
    """The program and runner of a measurement, None if unknown."""

    artifact: str | None
    runner: str | None


@dataclass
class Baselines:
    """The hashes that must stay, with the name of a series that needs each."""

    artifacts: dict[str, str] = field(default_factory=dict)
    runners: dict[str, str] = field(default_factory=dict)

    def add(self, made: MadeWith, series: str) -> None:
        """Adds the program and runner of a measurement."""
        if made.artifact is not None:
            self.artifacts.setdefault(made.artifact, series)
        if made.runner is not None:
            self.runners.setdefault(made.runner, series)


IsThere = Callable[[MadeWith], bool]


def baselines(store: Store, is_there: IsThere) -> Baselines:
    """Returns what the series of this lab's own devices need.

    From each series' last segment, without points that do not count, these are the comparison window, the newest point
    whose program and runner still exist, and the oldest such point, with which drift is compared.
    """
    kept = Baselines()
    with store.database.reading() as connection:
        made = _made_with(connection)
        for name, points in _series(connection):
            for point in _needed(points, lambda point: is_there(made[point.measurement_id])):
                kept.add(made[point.measurement_id], name)
    return kept


def _needed(points: Sequence[StoredPoint], usable: Callable[[StoredPoint], bool]) -> Iterator[StoredPoint]:
    seen = [as_point(point) for point in points]
    start = segments(seen)[-1].start if seen else 0
    counting = [point for point, one in zip(points[start:], seen[start:], strict=True) if not one.excluded]
    yield from counting[-WINDOW:]
    for order in (counting, counting[::-1]):
        first = next((point for point in order if usable(point)), None)
        if first is not None:
            yield first


def _made_with(connection: Connection) -> dict[int, MadeWith]:
    table = schema.measurement
    rows = connection.execute(select(table.c.id, table.c.artifact_hash, table.c.runner_hash))
    return {row.id: MadeWith(row.artifact_hash, row.runner_hash) for row in rows}


def _series(connection: Connection) -> Iterator[tuple[str, Sequence[StoredPoint]]]:
    """Yields the history of nights of every own series by name, one for each design, oldest point first."""
    series, point, measurement = schema.series, schema.point, schema.measurement
    last = {
        (row.series_id, row.measurement_id): row.verdict
        for row in connection.execute(
            select(schema.verdict.c.series_id, schema.verdict.c.measurement_id, schema.verdict.c.verdict).order_by(
                schema.verdict.c.id
            )
        )
    }
    accepted = {
        (row.series_id, row.measurement_id)
        for row in connection.execute(select(schema.acceptance.c.series_id, schema.acceptance.c.measurement_id))
    }
    named = (series.c.device_name, series.c.workload_key, series.c.metric)
    statement = (
        select(
            *named, series.c.fingerprint, point.c.series_id, point.c.measurement_id, point.c.value,
            measurement.c.started_at, measurement.c.design, measurement.c.valid_sessions, schema.run.c.purpose,
        )
        .select_from(point.join(series).join(measurement).join(schema.run))
        .where(~series.c.device_name.contains(ORIGIN_MARK))
        .order_by(*named, measurement.c.started_at, measurement.c.id)
        .execution_options(yield_per=10_000)
    )  # fmt: skip
    rows: Iterable[Any] = connection.execute(statement)
    for name, group in groupby(rows, key=lambda row: (row.device_name, row.workload_key, row.metric)):
        own = list(group)
        stored = [_as_point(row, last, accepted) for row in own]
        for design in dict.fromkeys(row.design for row in own):
            alike = [is_night(row) and row.design == design for row in own]
            yield "/".join(name), history_of(stored, alike)


def _as_point(row: Any, verdicts: dict[tuple[int, int], str], accepted: set[tuple[int, int]]) -> StoredPoint:
    place = (row.series_id, row.measurement_id)
    return StoredPoint(
        *place, row.started_at, row.value, row.fingerprint, verdicts.get(place), {}, accepted=place in accepted
    )


def last_uses(store: Store) -> tuple[dict[str, str], dict[str, str]]:
    """Returns when each program and each runner was last used (ISO 8601), by hash."""
    table = schema.measurement
    artifacts: dict[str, str] = {}
    runners: dict[str, str] = {}
    with store.database.reading() as connection:
        for row in connection.execute(select(table.c.artifact_hash, table.c.runner_hash, table.c.started_at)):
            for found, name in ((artifacts, row.artifact_hash), (runners, row.runner_hash)):
                if name is not None:
                    found[name] = max(row.started_at, found.get(name, ""))
    return artifacts, runners


def open_programs(store: Store) -> set[str]:
    """Returns the hashes of programs of runs that can be resumed, as these would be refused with another program."""
    table = schema.measurement
    statement = (
        select(table.c.artifact_hash)
        .select_from(table.join(schema.run))
        .where(schema.run.c.status.in_(("running", "interrupted")), schema.run.c.purpose != "imported")
    )
    with store.database.reading() as connection:
        return {name for name in connection.execute(statement).scalars() if name is not None}


def ended_runs(store: Store) -> frozenset[str]:
    """Returns the ids of runs to which nothing is added any more."""
    statement = select(schema.run.c.id).where(schema.run.c.status.in_(("finished", "partial", "failed")))
    with store.database.reading() as connection:
        return frozenset(connection.execute(statement).scalars())
