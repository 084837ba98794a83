"""Points of series: the numbers of a finished measurement, each in the series its fingerprint names.

The metrics whose history is kept are listed with where each stands in a measurement document, and which way is better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from foundation.unavailable import is_number
from suite.store import schema
from suite.store.identity import MEASUREMENT_VERSION, fingerprint, timestamp
from suite.store.rows import found_or_new


@dataclass(frozen=True)
class Metric:
    """`name` holds the unit; `direction` is what is better; `floor` is the least relative change that matters."""

    name: str
    path: tuple[str, ...]
    direction: Literal["lower", "higher"] = "lower"
    floor: float = 0.0


METRICS = (
    Metric("latency_ms", ("latency_ms", "median")),
    # Milliseconds of a file system's mood, and paid once a session.
    Metric("load_ms", ("load_ms", "median"), floor=0.10),
    Metric("peak_memory_kib", ("peak_memory_kib",)),
    Metric("memory_after_load_kib", ("memory_after_load_kib",)),
    Metric("program_bytes", ("program_bytes",)),
    Metric("energy_gross_mj_per_step", ("energy_mj_per_step", "gross")),
    Metric("energy_net_mj_per_step", ("energy_mj_per_step", "net")),
    Metric("power_mw", ("power_mw", "mean")),
)

#: Only measurements of these become points of a series.
STATUSES_WITH_POINTS = ("ok", "unstable", "partial")


def metric_value(document: Mapping[str, Any], metric: Metric) -> float | None:
    """The metric's number in a measurement document, None where it is unavailable."""
    value: Any = document
    for key in metric.path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return float(value) if is_number(value) else None


def replace_points(connection: Connection, measurement_id: int, document: Mapping[str, Any]) -> None:
    """Adds a point for every metric of `document` that has a number; none for a measurement that is not valid.

    The caller has removed the points that an earlier document of the same measurement left.
    """
    if document["status"] not in STATUSES_WITH_POINTS:
        return
    facts = _facts(connection, measurement_id, document.get("arithmetic"))
    for metric in METRICS:
        value = metric_value(document, metric)
        if value is not None:
            series_id = _series(connection, facts, metric)
            connection.execute(
                insert(schema.point).values(measurement_id=measurement_id, series_id=series_id, value=value)
            )


def _facts(connection: Connection, measurement_id: int, arithmetic: str | None) -> dict[str, Any]:
    """What names the series of a measurement: its device as it was in that run, and its workload."""
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
    return {
        "device_name": row["name"],
        "workload_key": row["workload_key"],
        "emulated": row["emulated"],
        "fingerprint": fingerprint(
            kind=row["kind"],
            emulated=bool(row["emulated"]),
            hardware=json.loads(row["hardware"]),
            os_build=os_build or "unknown",
            workload=row["workload_key"] if arithmetic is None else f"{row['workload_key']}/{arithmetic}",
            measurement_version=MEASUREMENT_VERSION,
        ),
    }


def _series(connection: Connection, facts: Mapping[str, Any], metric: Metric) -> int:
    identity = {
        "device_name": facts["device_name"],
        "workload_key": facts["workload_key"],
        "metric": metric.name,
        "fingerprint": facts["fingerprint"],
    }
    others = {"emulated": facts["emulated"], "direction": metric.direction, "created_at": timestamp()}
    return found_or_new(connection, schema.series, identity, others)
