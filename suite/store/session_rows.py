"""Stores a session as rows and restores it unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from foundation.text import printable
from foundation.unavailable import Json, Unavailable, unavailable
from suite import stats
from suite.sessions.events import MAX_TEXT_CHARS, Defect, DefectKind, FooterEvent, HeaderEvent, LoadEvent, StepEvent
from suite.sessions.record import Cause, IdlePower, SensorTrace, SessionRecord
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from suite.store.identity import canonical
from suite.store.rows import FLOAT, INTEGER, Columns, Row, SqlValue, pack, unpack

_PHASES = ("warm_up", "measured")


def session_values(measurement_id: int, result: SessionResult, committed_at: str) -> dict[str, SqlValue]:
    """Returns the row of `session`."""
    record = result.record
    first = record.header.t_ns if record.header is not None else None
    reason = result.validity.reason
    return {
        "id": result.session_id,
        "measurement_id": measurement_id,
        "ordinal": result.ordinal,
        "attempt": result.attempt,
        "status": result.validity.status.value,
        "reason": None if reason is None else printable(reason, MAX_TEXT_CHARS),
        "cause": record.cause.value,
        "sentence": printable(record.sentence, MAX_TEXT_CHARS),
        "median_ms": stats.median(record.latencies_ms) if record.measured_steps else None,
        "t_begin_ns": first,
        "load_ms": record.load_ms,
        "hwm_kib": record.footer.hwm_kib if record.footer is not None else None,
        "events": _events(record),
        "sensor_errors": canonical(dict(record.sensor_errors)),
        "defects": canonical([[defect.kind.value, defect.line, defect.detail] for defect in record.defects]),
        "idle": canonical(_idle_document(result.idle)),
        "committed_at": committed_at,
    }


def sample_values(record: SessionRecord) -> list[dict[str, SqlValue]]:
    """Returns the rows of `sample`: the steps, then one for each sensor."""
    rows = [_sample(record.session_id, "steps", "steps", "step", len(record.steps), _pack_steps(record.steps))]
    for trace in record.samples.values():
        packed = pack(
            {
                "t_ns": (INTEGER, trace.t_ns),
                "value": (FLOAT, trace.values),
                **({"clock_error_ms": (FLOAT, (trace.clock_error_ms,))} if trace.clock_error_ms else {}),
            }
        )
        rows.append(_sample(record.session_id, "sensor", trace.sensor, trace.quantity, len(trace.t_ns), packed))
    return rows


def load_result(row: Row, samples: Iterable[Row]) -> SessionResult:
    """Restores the session from its row of `session` and its rows of `sample`."""
    events = json.loads(row["events"])
    steps, traces = load_samples(samples)
    record = SessionRecord(
        session_id=row["id"],
        header=None if events["header"] is None else HeaderEvent.model_validate_json(json.dumps(events["header"])),
        load=None if events["load"] is None else LoadEvent.model_validate_json(json.dumps(events["load"])),
        steps=steps,
        samples=traces,
        sensor_errors=json.loads(row["sensor_errors"]),
        footer=None if events["footer"] is None else FooterEvent.model_validate_json(json.dumps(events["footer"])),
        defects=tuple(Defect(DefectKind(kind), line, detail) for kind, line, detail in json.loads(row["defects"])),
        cause=Cause(row["cause"]),
        sentence=row["sentence"],
    )
    return SessionResult(
        session_id=row["id"],
        ordinal=row["ordinal"],
        attempt=row["attempt"],
        record=record,
        validity=Validity(SessionStatus(row["status"]), row["reason"]),
        idle=_idle(json.loads(row["idle"])),
    )


def load_samples(samples: Iterable[Row]) -> tuple[tuple[StepEvent, ...], dict[str, SensorTrace]]:
    """Returns steps and sensor traces of one session from its rows of `sample`. StoreError for damaged data."""
    steps: tuple[StepEvent, ...] = ()
    traces: dict[str, SensorTrace] = {}
    for row in samples:
        columns = unpack(Columns(row["layout"], row["data"]))
        if row["kind"] == "steps":
            steps = _unpack_steps(columns)
        else:
            times = tuple(int(time) for time in columns["t_ns"])
            error_ms = float(columns.get("clock_error_ms", [0.0])[0])
            traces[row["name"]] = SensorTrace(row["name"], row["quantity"], times, tuple(columns["value"]), error_ms)
    return steps, traces


def _sample(session_id: str, kind: str, name: str, quantity: str, rows: int, packed: Columns) -> dict[str, SqlValue]:
    return {
        "session_id": session_id,
        "kind": kind,
        "name": name,
        "quantity": quantity,
        "rows": rows,
        "layout": packed.layout,
        "data": packed.data,
    }


def _pack_steps(steps: Iterable[StepEvent]) -> Columns:
    taken = list(steps)
    return pack(
        {
            "index": (INTEGER, [step.index for step in taken]),
            "phase": (INTEGER, [_PHASES.index(step.phase) for step in taken]),
            "t0_ns": (INTEGER, [step.t0_ns for step in taken]),
            "t1_ns": (INTEGER, [step.t1_ns for step in taken]),
            "loss_count": (INTEGER, [len(step.losses) for step in taken]),
            "losses": (FLOAT, [loss for step in taken for loss in step.losses]),
        }
    )


def _unpack_steps(columns: Mapping[str, list[int] | list[float]]) -> tuple[StepEvent, ...]:
    steps: list[StepEvent] = []
    used = 0
    for index, phase, t0_ns, t1_ns, count in zip(
        *(columns[name] for name in ("index", "phase", "t0_ns", "t1_ns", "loss_count")), strict=True
    ):
        losses = tuple(columns["losses"][used : used + int(count)])
        used += int(count)
        steps.append(
            StepEvent(
                event="step",
                index=int(index),
                phase="measured" if phase else "warm_up",
                t0_ns=int(t0_ns),
                t1_ns=int(t1_ns),
                losses=losses,
            )
        )
    return tuple(steps)


def _events(record: SessionRecord) -> str:
    found = {"header": record.header, "load": record.load, "footer": record.footer}
    return canonical(
        {name: None if item is None else item.model_dump(mode="json", by_alias=True) for name, item in found.items()}
    )


def _idle_document(idle: IdlePower | Unavailable) -> Json:
    if isinstance(idle, Unavailable):
        return idle.document()
    if not math.isfinite(idle.mean_mw):
        return unavailable(f"idle power came out as {idle.mean_mw} mW")
    return {"before_mw": idle.before_mw, "after_mw": idle.after_mw}


def _idle(document: Mapping[str, float | str]) -> IdlePower | Unavailable:
    if "unavailable" in document:
        return Unavailable(str(document["unavailable"]))
    return IdlePower(float(document["before_mw"]), float(document["after_mw"]))
