"""What a night judged, series by series."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from reports.histories import SeriesVerdict
from suite.store import schema


def night_verdicts(connection: Connection, run_id: str) -> list[SeriesVerdict]:
    """The verdicts of one run in the order of their making; of a series judged twice the last one."""
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
    for row in connection.execute(statement).mappings():
        found[row["series_id"]] = SeriesVerdict(
            device=row["device_name"],
            workload_key=row["workload_key"],
            workload=json.loads(row["workload"]),
            metric=row["metric"],
            direction=row["direction"],
            emulated=bool(row["emulated"]),
            measurement_id=str(row["measurement_id"]),
            verdict=row["verdict"],
            rule=row["rule"],
            at=row["at"],
            value=row["value"],
            numbers=json.loads(row["numbers"]),
            inputs=json.loads(row["inputs"]),
        )
    return list(found.values())
