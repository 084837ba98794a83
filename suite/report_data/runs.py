"""Reads runs for reports: a summary of each, and the documents of a run or of single measurements.

A summary has a stamp that changes with the contents of the run's pages.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json, unavailable
from reports.model.histories import NIGHTS
from reports.model.measurement import setting_of
from reports.model.reading import items, text
from reports.model.source import RunSummary
from suite.report_data.device_histories import ON_A_DEVICE
from suite.results.findings import newest_by_night
from suite.store import schema
from suite.store.dialect import Row
from suite.store.identity import IMPORTED, IMPORTED_FROM, canonical, origin_entry, stamp
from suite.store.tags import newest_remarks, remarks_of_run, tags_by_run

_STAMPED = ("id", "status", "finished_at")
_NUMBERS = (
    "forward_tokens",
    *("setup", "latency_ms", "load_ms", "peak_memory_kib", "memory_after_load_kib", "program_bytes", "weight_bytes"),
    *("energy_mj_per_step", "power_mw", "temperature_c", "loss", "stability", "ratio_to_reference"),
    "sampler_overhead_percent",
)
_SESSION_KEYS = ("ordinal", "attempt", "status", "reason", "median_ms", "t_begin_ns", "load_ms", "hwm_kib")


def run_summaries(connection: Connection) -> list[RunSummary]:
    """Returns every run, newest first."""
    rows = connection.execute(select(schema.run).order_by(schema.run.c.id.desc())).mappings().all()
    in_run = _measurements(connection)
    nights = [row["id"] for row in rows if row["purpose"] == "nightly"][
        :NIGHTS
    ]  # counting those of years takes seconds
    verdicts = _verdict_counts(connection, nights)
    unfinished = [row["id"] for row in rows if row["finished_at"] is None]
    sessions, remarks = _session_counts(connection, unfinished), newest_remarks(connection)
    tags, findings = tags_by_run(connection), newest_by_night(connection)
    return [
        _summary(row, in_run.get(row["id"], []), verdicts.get(row["id"], {}),
                 (sessions.get(row["id"]), remarks.get(row["id"]), *findings.get(row["id"], ())),
                 tags.get(row["id"], []))
        for row in rows
    ]  # fmt: skip


def _measurements(connection: Connection) -> dict[str, list[Row]]:
    """Returns the measurements of each run: device, workload, and whether it is finished."""
    table = schema.measurement
    statement = (
        select(table.c.run_id, schema.device.c.name, table.c.workload, table.c.finished_at)
        .select_from(table.join(schema.device))
        .where(table.c.role == "measured")
        .order_by(table.c.id)
    )
    found: dict[str, list[Row]] = {}
    for row in connection.execute(statement).mappings():
        found.setdefault(row["run_id"], []).append(row)
    return found


def _verdict_counts(connection: Connection, run_ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Counts the verdicts of each run. If a series was judged twice, the last verdict counts."""
    verdict, measurement = schema.verdict, schema.measurement
    last = (
        select(func.max(verdict.c.id).label("id"), measurement.c.run_id)
        .select_from(verdict.join(measurement))
        .where(measurement.c.run_id.in_(list(run_ids)))
        .group_by(measurement.c.run_id, verdict.c.series_id)
        .subquery()
    )
    acceptance = schema.acceptance
    accepted = (
        select(acceptance.c.id)
        .where(acceptance.c.series_id == verdict.c.series_id, acceptance.c.measurement_id == verdict.c.measurement_id)
        .exists()
    )
    word = case((accepted & (verdict.c.verdict == "regressed"), "accepted"), else_=verdict.c.verdict).label("word")
    statement = (
        select(last.c.run_id, word, func.count())
        .select_from(last.join(verdict, verdict.c.id == last.c.id))
        .group_by(last.c.run_id, word)
    )
    found: dict[str, dict[str, int]] = {}
    for run_id, name, count in connection.execute(statement):
        found.setdefault(run_id, {})[name] = count
    return found


def _session_counts(connection: Connection, run_ids: Iterable[str]) -> dict[str, int]:
    statement = (
        select(schema.measurement.c.run_id, func.count())
        .select_from(schema.session.join(schema.measurement))
        .where(schema.measurement.c.run_id.in_(list(run_ids)))
        .group_by(schema.measurement.c.run_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _summary(
    run: Row, in_run: list[Row], verdicts: Mapping[str, int], counts: tuple[object, ...], tags: list[str]
) -> RunSummary:
    finished = [row["finished_at"] for row in in_run if row["finished_at"] is not None]
    return RunSummary(
        run_id=run["id"],
        started_at=run["started_at"],
        finished_at=run["finished_at"],
        status=run["status"],
        command=shlex.join(json.loads(run["command"])),
        devices=list(dict.fromkeys(row["name"] for row in in_run)),
        settings=list(dict.fromkeys(_setting_in(row["workload"]) for row in in_run)),
        measurements=len(in_run),
        purpose=run["purpose"],
        verdicts=dict(verdicts),
        tags=tags,
        origin=_origin(run),
        stamp=stamp(
            *(run[key] for key in _STAMPED),
            len(in_run),
            sorted(finished)[-1:],
            sorted(verdicts.items()),
            counts,
            tags,
        ),
    )


def _origin(run: Row) -> str:
    if run["purpose"] != IMPORTED:
        return ""
    return text(json.loads(run["environment"]), IMPORTED_FROM, default="another lab")


@lru_cache(maxsize=4096)
def _setting_in(workload: str) -> str:
    """Returns the quantization setting in the JSON of a workload."""
    return setting_of(json.loads(workload))


def run_document(connection: Connection, run_id: str) -> dict[str, Any]:
    """Returns the document of a run (docs/contracts.md, with additions for reports). Raises UserError if unknown."""
    row = _run(connection, run_id)
    return {
        "run_id": run_id,
        "report": None,
        "status": row["status"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "command": shlex.join(json.loads(row["command"])),
        "tags": tags_by_run(connection).get(run_id, []),
        **surroundings(connection, run_id),
        "measurements": [
            document for document, _ in measurement_documents(connection, schema.measurement.c.run_id == run_id)
        ],
    }


def surroundings(connection: Connection, run_id: str) -> dict[str, Any]:
    """Returns `environment` of the host, `remarks`, and `devices` by name, each in its latest state in the run."""
    statement = (
        select(
            schema.device, schema.device_state.c.os_build, schema.device_state.c.facts, schema.device_state.c.preflight
        )
        .select_from(schema.device_state.join(schema.device))
        .where(schema.device_state.c.run_id == run_id)
        .order_by(schema.device_state.c.id)
    )
    devices = {
        row["name"]: {
            "kind": row["kind"],
            "emulated": bool(row["emulated"]),
            "facts": {**json.loads(row["hardware"]), "os_build": row["os_build"], **json.loads(row["facts"])},
            "preflight": json.loads(row["preflight"]),
            **origin_entry(row["name"]),
        }
        for row in connection.execute(statement).mappings()
    }
    for name, kernels in _kernel_factors(connection, run_id).items():
        if name in devices:
            devices[name]["facts"]["kernels"] = kernels
    devices |= {name: one for name, one in _unreached(connection, run_id).items() if name not in devices}
    environment = json.loads(_run(connection, run_id)["environment"])
    origin = {"origin": str(environment[IMPORTED_FROM])} if IMPORTED_FROM in environment else {}
    return {
        "environment": environment,
        **origin,
        "remarks": remarks_of_run(connection, run_id),
        "devices": devices,
    }


def _kernel_factors(connection: Connection, run_id: str) -> dict[str, dict[str, dict[str, float]]]:
    """Returns by device and setting what a product took in each variant of the runner's kernels when these were
    compared, as a factor of its time in the variant that is used, which comes first."""
    table, state, choice = schema.measurement, schema.device_state, schema.kernel_choice
    same_run = (state.c.run_id == table.c.run_id) & (state.c.device_id == table.c.device_id)
    joined = table.join(schema.device).join(state, same_run).join(choice, choice.c.runner_hash == table.c.runner_hash)
    columns = (choice.c.id, choice.c.fingerprint, choice.c.cpus, choice.c.chosen, choice.c.times)
    rows = connection.execute(
        select(schema.device.c.name, state.c.facts, table.c.document, *columns)
        .select_from(joined)
        .where(table.c.run_id == run_id, table.c.role == "measured")
        .order_by(choice.c.cpus.desc())  # of an entry that names its CPUs last
    ).mappings()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        cpus = canonical(list(items(json.loads(row["document"] or "{}"), "setup", "cpus")))
        if row["cpus"] in ("[]", cpus) and text(json.loads(row["facts"]), "fingerprint") == row["fingerprint"]:
            found[row["name"]] = _factors(json.loads(row["chosen"]), json.loads(row["times"]))
    return {name: factors for name, factors in found.items() if factors}


def _factors(chosen: Mapping[str, str], times: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    least = {(one["weights"], one["kernels"]): min(one["ns"]) for one in times}
    found = {quant: {name: 1.0} for quant, name in chosen.items()}
    for (quant, name), ns in least.items():
        found[quant][name] = round(ns / least[quant, chosen[quant]], 3)
    return found


def _unreached(connection: Connection, run_id: str) -> dict[str, Any]:
    """Returns the devices of failed measurements; those that the run reached also have a state."""
    device, table = schema.device, schema.measurement
    failed = (table.c.run_id == run_id) & (table.c.role == "measured") & (table.c.status == "failed") & ON_A_DEVICE
    rows = connection.execute(select(device, table.c.reason).select_from(table.join(device)).where(failed)).mappings()
    return {
        row["name"]: {
            "kind": row["kind"],
            "emulated": bool(row["emulated"]),
            "facts": {},
            "preflight": [{"name": "reached", "status": "failed", "detail": row["reason"] or "", "remedy": ""}],
            **origin_entry(row["name"]),
        }
        for row in rows
    }


def measurement_documents(connection: Connection, chosen: ColumnElement[bool]) -> list[tuple[dict[str, Json], Row]]:
    """Returns the document of each measurement that is not a confirmation, with its row and device."""
    condition = chosen & (schema.measurement.c.role == "measured")
    statement = (
        select(schema.measurement, schema.device.c.name, schema.device.c.kind, schema.device.c.emulated)
        .select_from(schema.measurement.join(schema.device))
        .where(condition)
        .order_by(schema.measurement.c.id)
    )
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    sessions = _session_rows(connection, condition)
    return [(_measurement(row, sessions.get(row["id"], [])), row) for row in rows]


def _run(connection: Connection, run_id: str) -> Row:
    row = connection.execute(select(schema.run).where(schema.run.c.id == run_id)).mappings().one_or_none()
    if row is None:
        raise UserError(f"there is no run '{printable(run_id, 80)}' in the store: see `suite history`")
    return row


def _session_rows(connection: Connection, condition: ColumnElement[bool]) -> dict[int, list[dict[str, Json]]]:
    statement = (
        select(schema.session)
        .select_from(schema.session.join(schema.measurement))
        .where(condition)
        .order_by(schema.session.c.ordinal, schema.session.c.attempt)
    )
    found: dict[int, list[dict[str, Json]]] = {}
    for row in connection.execute(statement).mappings():
        described = {"session_id": row["id"], **{key: row[key] for key in _SESSION_KEYS}}
        found.setdefault(row["measurement_id"], []).append(described)
    return found


def _measurement(row: Row, sessions: list[dict[str, Json]]) -> dict[str, Json]:
    finished = row["document"] is not None
    described: dict[str, Json] = json.loads(row["document"]) if finished else _unfinished(row, sessions)
    return described | {
        "kind": text(described, "kind") or row["kind"],
        "measurement_id": str(row["id"]),
        "sessions": sessions,
        "reference_losses": json.loads(row["reference_losses"]),
        **origin_entry(row["name"]),
    }


def _unfinished(row: Row, sessions: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Returns a measurement whose run stopped before its statistics: it has sessions but no numbers."""
    reason = (
        f"the run stopped before this measurement was finished ({len(sessions)} of "
        f"{row['planned_sessions']} sessions are stored): continue it with `suite run --resume`"
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
        **{key: unavailable(reason) for key in _NUMBERS},
    }
