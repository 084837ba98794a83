"""Reads what a night is judged by: tonight's points, earlier points of their series, verdicts and acceptances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from foundation.unavailable import Json
from reports.model.measurement import Measurement
from suite.store import schema
from suite.store.points import is_night
from suite.store.store import Store


@dataclass(frozen=True)
class StoredPoint:
    """A point with the last verdict on it (`verdict` and its `numbers`), and whether it was accepted."""

    series_id: int
    measurement_id: int
    at: str
    value: float
    fingerprint: str
    verdict: str | None
    numbers: Mapping[str, float]
    accepted: bool
    valid_sessions: int | None = None


@dataclass(frozen=True)
class SeriesTonight:
    """A metric of a workload on a device, with tonight's point and all earlier ones, oldest first."""

    device: str
    workload_key: str
    metric: str
    tonight: StoredPoint
    before: tuple[StoredPoint, ...]

    @property
    def name(self) -> str:
        """The name that `suite history` takes."""
        return f"{self.device}/{self.workload_key}/{self.metric}"


@dataclass(frozen=True)
class Provenance:
    """The program and runner of a measurement, its result, and its device's facts in that run."""

    measurement_id: int
    artifact_hash: str | None
    runner_hash: str | None
    measurement: Measurement
    facts: Mapping[str, Json]


def series_of_night(store: Store, run_id: str) -> list[SeriesTonight]:
    """Returns every series that has a point in the run, in the order of its measurements.

    `before` has only nights with the run's design, as other measurements are not part of the history (`is_night`).
    """
    points = _points(store, run_id)
    verdicts, accepted = _verdicts(store), _acceptances(store)
    found = []
    for name, rows in points.items():
        stored = [_as_stored(row, verdicts, accepted) for row in rows]
        last = next((index for index, row in enumerate(rows) if row.run_id == run_id), None)
        if last is not None:
            tonight = replace(stored[last], valid_sessions=rows[last].valid_sessions or 0)
            alike = [is_night(row) and row.design == rows[last].design for row in rows[:last]]
            *before, of_tonight = history_of([*stored[:last], tonight], [*alike, True])
            found.append(SeriesTonight(*name, of_tonight, tuple(before)))
    return found


def provenance_of(store: Store, measurement_ids: Sequence[int]) -> dict[int, Provenance]:
    """Returns how these measurements were made, by id."""
    table, state = schema.measurement, schema.device_state
    statement = (
        select(table.c.id, table.c.artifact_hash, table.c.runner_hash, table.c.document, state.c.facts)
        .select_from(
            table.outerjoin(state, (state.c.run_id == table.c.run_id) & (state.c.device_id == table.c.device_id))
        )
        .where(table.c.id.in_(list(measurement_ids)))
        .order_by(state.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return {
        row.id: Provenance(
            row.id,
            row.artifact_hash,
            row.runner_hash,
            Measurement.from_document(json.loads(row.document or "{}")),
            json.loads(row.facts or "{}"),
        )
        for row in rows
    }


def history_of(points: Sequence[StoredPoint], alike: Sequence[bool]) -> tuple[StoredPoint, ...]:
    """Returns those points (oldest first) that are `alike`, with the acceptances that hold among them."""
    held = acceptances_among([point.accepted for point in points], alike)
    found = zip(points, held, alike, strict=True)
    return tuple(replace(point, accepted=accepted) for point, accepted, kept in found if kept)


def acceptances_among(accepted: Sequence[bool], kept: Sequence[bool]) -> list[bool]:
    """Returns which points (oldest first) are accepted. If an accepted one is left out, the next kept one counts."""
    held, pending = [], False
    for own, stays in zip(accepted, kept, strict=True):
        pending = pending or own
        held.append(pending and stays)
        pending = pending and not stays
    return held


def _as_stored(
    row: Any, verdicts: Mapping[tuple[int, int], tuple[str, dict[str, float]]], accepted: set[tuple[int, int]]
) -> StoredPoint:
    place = (row.series_id, row.measurement_id)
    verdict, numbers = verdicts.get(place, (None, {}))
    return StoredPoint(*place, row.started_at, row.value, row.fingerprint, verdict, numbers, place in accepted)


def _points(store: Store, run_id: str) -> dict[tuple[str, str, str], list[Any]]:
    """Returns the rows of all points of the devices that the run measured, by series name, oldest first."""
    series, point, measurement = schema.series, schema.point, schema.measurement
    devices = (
        select(series.c.device_name)
        .select_from(series.join(point).join(measurement))
        .where(measurement.c.run_id == run_id)
        .distinct()
    )
    statement = (
        select(
            *(series.c.device_name, series.c.workload_key, series.c.metric, series.c.fingerprint),
            *(point.c.series_id, point.c.measurement_id, point.c.value, measurement.c.started_at, measurement.c.run_id),
            *(measurement.c.design, measurement.c.valid_sessions, schema.run.c.purpose),
        )
        .select_from(point.join(series).join(measurement).join(schema.run))
        .where(series.c.device_name.in_(devices))
        .order_by(measurement.c.started_at, measurement.c.id)
    )
    found: dict[tuple[str, str, str], list[Any]] = {}
    with store.database.reading() as connection:
        for row in connection.execute(statement):
            found.setdefault((row.device_name, row.workload_key, row.metric), []).append(row)
    return found


def _verdicts(store: Store) -> dict[tuple[int, int], tuple[str, dict[str, float]]]:
    """Returns the last verdict on each point. A point without one was never judged."""
    table = schema.verdict
    with store.database.reading() as connection:
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    return {(row.series_id, row.measurement_id): (row.verdict, json.loads(row.numbers)) for row in rows}


def _acceptances(store: Store) -> set[tuple[int, int]]:
    table = schema.acceptance
    with store.database.reading() as connection:
        return {(row.series_id, row.measurement_id) for row in connection.execute(select(table))}
