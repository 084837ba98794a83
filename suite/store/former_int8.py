"""Renames the setting that was called int8 before int8 meant weights alone: `int8-dynamic`, its name since schema 5.

Its series go on under the new name: their key and fingerprint, which follow from it, are those of its next measurement.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Table, select, update

from suite.store import schema
from suite.store.identity import canonical, workload_key
from suite.store.points import origin_of

FORMER, NAME = "int8", "int8-dynamic"

_ONE, _SEVERAL = ("quant", "setting"), "quants"
"""The keys whose values are the name of a setting, or a list of names."""


def rename_settings(value: Any) -> Any:
    """Returns JSON in which every mention of the former int8 as a setting has its new name."""
    if isinstance(value, list):
        return [rename_settings(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for key, item in value.items():
        if key in _ONE and item == FORMER:
            renamed[key] = NAME
        elif key == _SEVERAL and isinstance(item, list):
            renamed[key] = [NAME if name == FORMER else name for name in item]
        else:
            renamed[key] = rename_settings(item)
    return renamed


def rename_in_store(connection: Connection) -> None:
    """Renames it in all runs, programs, measurements and series of a store, within the caller's transaction."""
    _rename_columns(connection, schema.run, "plan")
    _rename_columns(connection, schema.artifact, "workload", "metadata")
    _rename_columns(connection, schema.measurement, "workload", "document")
    measurement, series = schema.measurement, schema.series
    keys: dict[str, str] = {}
    for row in connection.execute(select(measurement.c.id, measurement.c.workload_key, measurement.c.workload)).all():
        workload = json.loads(row.workload)
        if workload.get("quant") == NAME:
            keys[row.workload_key] = workload_key(workload)
            connection.execute(
                update(measurement).where(measurement.c.id == row.id).values(workload_key=keys[row.workload_key])
            )
    for former, key in keys.items():
        connection.execute(update(series).where(series.c.workload_key == former).values(workload_key=key))
    _renew_fingerprints(connection, set(keys.values()))


def _rename_columns(connection: Connection, table: Table, *names: str) -> None:
    (identity,) = table.primary_key.columns
    for row in connection.execute(select(identity, *(table.c[name] for name in names))).mappings().all():
        texts = {name: row[name] for name in names if row[name] is not None}
        renamed = {name: rename_settings(json.loads(text)) for name, text in texts.items()}
        changed = {name: canonical(value) for name, value in renamed.items() if value != json.loads(texts[name])}
        if changed:
            connection.execute(update(table).where(identity == row[identity.name]).values(changed))


def _renew_fingerprints(connection: Connection, keys: set[str]) -> None:
    """Gives the series of these workloads the fingerprints that their points now have; one without points keeps its."""
    series, point = schema.series, schema.point
    chosen = select(series.c.id, point.c.measurement_id).select_from(series.join(point))
    points = {row.id: row.measurement_id for row in connection.execute(chosen.where(series.c.workload_key.in_(keys)))}
    for series_id, measurement_id in points.items():
        mark = origin_of(connection, measurement_id, arithmetic=None).fingerprint
        connection.execute(update(series).where(series.c.id == series_id).values(fingerprint=mark))
