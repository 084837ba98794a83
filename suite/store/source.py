"""What reports are made from: the store behind the interface that `reports.source.ReportSource` asks for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from reports.source import RunSummary, Samples, SessionTrace, Step
from suite.errors import UserError
from suite.events import printable
from suite.store import schema
from suite.store.rows import Row
from suite.store.session_rows import load_samples
from suite.store.store import Store
from suite.unavailable import unavailable

_MEASURED_KEYS = (
    *("latency_ms", "load_ms", "peak_memory_kib", "memory_after_load_kib", "program_bytes", "weight_bytes"),
    *("energy_mj_per_step", "power_mw", "temperature_c", "loss", "stability", "ratio_to_reference"),
    "sampler_overhead_percent",
)
_SESSION_KEYS = ("ordinal", "attempt", "status", "reason", "median_ms", "t_begin_ns", "load_ms", "hwm_kib")


class StoreSource:
    """Runs, documents and traces of one store. Only reads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def runs(self) -> list[RunSummary]:
        """Every run, newest first."""
        with self._store.database.reading() as connection:
            rows = connection.execute(select(schema.run).order_by(schema.run.c.id.desc())).mappings().all()
            return [_summary(row, _measurement_rows(connection, row["id"])) for row in rows]

    def document(self, run_id: str) -> dict[str, Any]:
        """The document of one run (docs/contracts.md, and what reports add to it). UserError for an unknown one."""
        with self._store.database.reading() as connection:
            row = connection.execute(select(schema.run).where(schema.run.c.id == run_id)).mappings().one_or_none()
            if row is None:
                raise UserError(f"there is no run '{printable(run_id, 80)}' in the store: see `suite history`")
            measurements = _measurement_rows(connection, run_id)
            sessions = _session_rows(connection, run_id)
            devices = _devices(connection, run_id)
        return {
            "run_id": run_id,
            "report": None,
            "status": row["status"],
            "started_at": row["started_at"],
            "finished_at": row["finished_at"],
            "command": shlex.join(json.loads(row["command"])),
            "environment": json.loads(row["environment"]),
            "devices": devices,
            "measurements": [_measurement(item, sessions.get(item["id"], [])) for item in measurements],
        }

    def trace(self, session_id: str) -> SessionTrace:
        """Steps and samples of one session; empty when there is no such session."""
        chosen = select(schema.sample).where(schema.sample.c.session_id == session_id).order_by(schema.sample.c.id)
        with self._store.database.reading() as connection:
            rows = connection.execute(chosen).mappings().all()
        steps, traces = load_samples(rows)
        return SessionTrace(
            steps=[Step(step.index, step.phase, step.t0_ns, step.t1_ns, step.losses) for step in steps],
            samples={name: Samples(trace.quantity, trace.t_ns, trace.values) for name, trace in traces.items()},
        )


def _measurement_rows(connection: Connection, run_id: str) -> Sequence[Row]:
    statement = (
        select(schema.measurement, schema.device.c.name, schema.device.c.kind, schema.device.c.emulated)
        .select_from(schema.measurement.join(schema.device))
        .where(schema.measurement.c.run_id == run_id)
        .order_by(schema.measurement.c.id)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def _session_rows(connection: Connection, run_id: str) -> dict[int, list[dict[str, Any]]]:
    statement = (
        select(schema.session)
        .select_from(schema.session.join(schema.measurement))
        .where(schema.measurement.c.run_id == run_id)
        .order_by(schema.session.c.ordinal, schema.session.c.attempt)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in connection.execute(statement).mappings():
        described = {"session_id": row["id"], **{key: row[key] for key in _SESSION_KEYS}}
        found.setdefault(row["measurement_id"], []).append(described)
    return found


def _devices(connection: Connection, run_id: str) -> dict[str, dict[str, Any]]:
    """Name to facts; the latest state of a device in the run counts."""
    statement = (
        select(
            schema.device, schema.device_state.c.os_build, schema.device_state.c.facts, schema.device_state.c.preflight
        )
        .select_from(schema.device_state.join(schema.device))
        .where(schema.device_state.c.run_id == run_id)
        .order_by(schema.device_state.c.id)
    )
    return {
        row["name"]: {
            "kind": row["kind"],
            "emulated": bool(row["emulated"]),
            "facts": {**json.loads(row["hardware"]), "os_build": row["os_build"], **json.loads(row["facts"])},
            "preflight": json.loads(row["preflight"]),
        }
        for row in connection.execute(statement).mappings()
    }


def _summary(run: Row, measurements: Sequence[Row]) -> RunSummary:
    settings = [str(json.loads(row["workload"]).get("quant", "unknown")) for row in measurements]
    return RunSummary(
        run_id=run["id"],
        started_at=run["started_at"],
        finished_at=run["finished_at"],
        status=run["status"],
        command=shlex.join(json.loads(run["command"])),
        devices=list(dict.fromkeys(row["name"] for row in measurements)),
        settings=list(dict.fromkeys(settings)),
        measurements=len(measurements),
    )


def _measurement(row: Row, sessions: list[dict[str, Any]]) -> dict[str, Any]:
    finished = row["document"] is not None
    described: dict[str, Any] = json.loads(row["document"]) if finished else _unfinished(row, sessions)
    return described | {
        "measurement_id": str(row["id"]),
        "sessions": sessions,
        "reference_losses": json.loads(row["reference_losses"]),
    }


def _unfinished(row: Row, sessions: Sequence[Row]) -> dict[str, Any]:
    """A measurement whose run stopped before its statistics were made: its sessions are there, its numbers are not."""
    reason = (
        f"the run stopped before this measurement was finished ({len(sessions)} sessions are stored, "
        f"{row['planned_sessions']} were planned): take it up with `suite run --resume`"
    )
    return {
        "device": row["name"],
        "kind": row["kind"],
        "emulated": bool(row["emulated"]),
        "workload": json.loads(row["workload"]),
        "status": "partial" if sessions else "failed",
        "reason": reason,
        "throttled": any(session["status"] == "throttled" for session in sessions),
        "sensors": [],
        **{key: unavailable(reason) for key in _MEASURED_KEYS},
    }
