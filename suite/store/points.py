"""Stores the numbers of a finished measurement as points, each in the series that its fingerprint identifies.

Also selects the points that belong to the history of nights, and those that were accepted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select

from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, Metric
from suite.store import schema
from suite.store.dialect import found_or_new
from suite.store.identity import MEASUREMENT_VERSION, fingerprint, timestamp

#: Only measurements with these statuses become points of a series.
STATUSES_WITH_POINTS = ("ok", "unstable", "partial")


def replace_points(connection: Connection, measurement_id: int, measurement: Measurement) -> None:
    """Adds a point for every metric of `measurement` with a number; none if the measurement is not valid.

    The caller has removed the points that an earlier result of the same measurement left.
    """
    if measurement.status not in STATUSES_WITH_POINTS:
        return
    origin = origin_of(connection, measurement_id, measurement)
    for metric in METRICS:
        value = metric.value(measurement)
        if value is not None:
            series_id = _series(connection, origin, metric)
            connection.execute(
                insert(schema.point).values(measurement_id=measurement_id, series_id=series_id, value=value)
            )


@dataclass(frozen=True)
class Origin:
    """What identifies the series of a measurement."""

    device_name: str
    workload_key: str
    emulated: int
    fingerprint: str


def origin_of(connection: Connection, measurement_id: int, measurement: Measurement) -> Origin:
    """Returns what identifies the series of a measurement: its workload, and its device's state and setup then."""
    chosen = select(
        schema.device.c.name,
        schema.device.c.kind,
        schema.device.c.emulated,
        schema.device.c.hardware,
        schema.device.c.id,
        schema.measurement.c.run_id,
        schema.measurement.c.workload_key,
    ).select_from(schema.measurement.join(schema.device))
    row = connection.execute(chosen.where(schema.measurement.c.id == measurement_id)).mappings().one()
    state = (
        select(schema.device_state.c.os_build)
        .where(schema.device_state.c.run_id == row["run_id"], schema.device_state.c.device_id == row["id"])
        .order_by(schema.device_state.c.id.desc())
        .limit(1)
    )
    os_build = connection.execute(state).scalar_one_or_none()
    key, arithmetic = row["workload_key"], measurement.arithmetic
    mark = fingerprint(
        kind=row["kind"],
        emulated=bool(row["emulated"]),
        hardware=json.loads(row["hardware"]),
        os_build=os_build or "unknown",
        workload=key if arithmetic is None else f"{key}/{arithmetic}",
        measurement_version=MEASUREMENT_VERSION,
        setup=measurement.setup.of_series,
    )
    return Origin(row["name"], row["workload_key"], row["emulated"], mark)


def _series(connection: Connection, origin: Origin, metric: Metric) -> int:
    identity = {
        "device_name": origin.device_name,
        "workload_key": origin.workload_key,
        "metric": metric.name,
        "fingerprint": origin.fingerprint,
    }
    others = {"emulated": origin.emulated, "direction": metric.direction, "created_at": timestamp()}
    return found_or_new(connection, schema.series, identity, others)


MIN_NIGHT_SESSIONS = 2
"""A single session may be a chance result, so such a point is never history, nor judged by it."""


def why_aside(row: Any) -> str:
    """Returns why a point is not part of the history of nights, from its run's `purpose` and its `valid_sessions`.

    Empty if it is part of it.
    """
    if row.purpose != "nightly":
        return "not a night"
    return "one session" if (row.valid_sessions or 0) < MIN_NIGHT_SESSIONS else ""


def is_night(row: Any) -> bool:
    """Returns whether a point belongs to the history of nights."""
    return not why_aside(row)


def is_of_night() -> ColumnElement[bool]:
    """Returns the same condition for a statement on measurements and their runs."""
    sessions = func.coalesce(schema.measurement.c.valid_sessions, 0)
    return (schema.run.c.purpose == "nightly") & (sessions >= MIN_NIGHT_SESSIONS)


def accepted_points() -> Select[Any]:
    """Selects series and measurement of every accepted point."""
    return select(schema.acceptance.c.series_id, schema.acceptance.c.measurement_id)
