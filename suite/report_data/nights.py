"""The newest nights of a lab, device by device, for the overview."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from reports.model.nights import NIGHTS, Night
from reports.model.quantities import LATENCY
from suite.report_data.device_histories import ON_A_DEVICE
from suite.results.findings import findings_of_nights
from suite.store import schema
from suite.store.identity import IMPORTED


def newest_nights(connection: Connection, count: int = NIGHTS) -> list[Night]:
    """Returns the newest nights, oldest first."""
    run = schema.run
    chosen = select(run.c.id, run.c.started_at).where(run.c.purpose == "nightly")
    rows = connection.execute(chosen.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(count)).all()[::-1]
    ids = [row.id for row in rows]
    outcomes, failed, latencies = _outcomes(connection, ids), _failed(connection, ids), _latencies(connection, ids)
    findings, reached = findings_of_nights(connection, ids), _reached(connection, ids)
    return [
        Night(
            run_id=row.id,
            started_at=row.started_at,
            outcomes=outcomes.get(row.id, {}),
            unreached=frozenset(failed.get(row.id, set()) - reached.get(row.id, set())),
            findings=findings.get(row.id, []),
            latency_ms=latencies.get(row.id, {}),
        )
        for row in rows
    ]


def newest_own_run(connection: Connection) -> str | None:
    """Returns the newest run of this lab that measured something, None if there is none."""
    run, table = schema.run, schema.measurement
    chosen = select(run.c.id).where(run.c.purpose != IMPORTED, run.c.id.in_(select(table.c.run_id)))
    newest = connection.execute(chosen.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(1)).scalar()
    return None if newest is None else str(newest)


def _outcomes(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    table, device = schema.measurement, schema.device
    counted = (
        select(table.c.run_id, device.c.name, table.c.status, func.count())
        .select_from(table.join(device))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured")
        .group_by(table.c.run_id, device.c.name, table.c.status)
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for run_id, name, status, count in connection.execute(counted):
        found.setdefault(run_id, {}).setdefault(name, {})[status or "partial"] = count
    return found


def _failed(connection: Connection, run_ids: Sequence[str]) -> dict[str, set[str]]:
    """Returns the devices of each night that failed with a program for them; one that wasn't reached is among them."""
    table, device = schema.measurement, schema.device
    chosen = (
        select(table.c.run_id, device.c.name)
        .select_from(table.join(device))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured", table.c.status == "failed", ON_A_DEVICE)
        .distinct()
    )
    return _by_run(connection.execute(chosen).all())


def _reached(connection: Connection, run_ids: Sequence[str]) -> dict[str, set[str]]:
    state, device = schema.device_state, schema.device
    chosen = select(state.c.run_id, device.c.name).select_from(state.join(device)).where(state.c.run_id.in_(run_ids))
    return _by_run(connection.execute(chosen).all())


def _by_run(rows: Iterable[Sequence[Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run_id, name in rows:
        found.setdefault(run_id, set()).add(name)
    return found


def _latencies(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[tuple[str, str], float]]:
    point, series, table = schema.point, schema.series, schema.measurement
    chosen = (
        select(table.c.run_id, series.c.device_name, series.c.workload_key, point.c.value)
        .select_from(point.join(series).join(table))
        .where(table.c.run_id.in_(run_ids), table.c.role == "measured", series.c.metric == LATENCY)
    )
    found: dict[str, dict[tuple[str, str], float]] = {}
    for run_id, name, key, value in connection.execute(chosen):
        found.setdefault(run_id, {})[name, key] = value
    return found
