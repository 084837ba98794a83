"""Converts a session to rows and back without loss; numbers are packed into compressed columns.

A column is a sequence of little-endian int64 or float64 values, compressed by zlib.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.text import printable
from foundation.unavailable import Json, Unavailable, unavailable
from suite import stats
from suite.errors import StoreError
from suite.sessions.events import MAX_TEXT_CHARS, Defect, DefectKind, FooterEvent, HeaderEvent, LoadEvent, StepEvent
from suite.sessions.record import Cause, IdlePower, SensorTrace, SessionRecord
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from suite.store.dialect import Row, SqlValue
from suite.store.identity import canonical

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
    """Returns a session's steps and sensor traces from its rows of `sample`. Raises StoreError for damaged data."""
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


INTEGER = "i8"
FLOAT = "f8"
_WIDTH = 8
_LEVEL = 6


@dataclass(frozen=True)
class Columns:
    """Packed columns: `layout` is a JSON list of [name, type, length], `data` the compressed bytes in that order."""

    layout: str
    data: bytes


def pack(columns: Mapping[str, tuple[str, Sequence[int] | Sequence[float]]]) -> Columns:
    """Packs columns by name, each with its type (`INTEGER`, `FLOAT`). NaN and infinities are kept."""
    layout = [[name, kind, len(values)] for name, (kind, values) in columns.items()]
    plain = b"".join(np.asarray(values, dtype=f"<{kind}").tobytes() for kind, values in columns.values())
    return Columns(json.dumps(layout), zlib.compress(plain, _LEVEL))


def unpack(columns: Columns) -> dict[str, list[int] | list[float]]:
    """Unpacks the columns as Python numbers. Raises StoreError if data and layout do not agree."""
    return {name: column.tolist() for name, column in unpack_arrays(columns).items()}


def unpack_arrays(columns: Columns) -> dict[str, NDArray[Any]]:
    """Unpacks the columns as read-only arrays. Raises StoreError if data and layout do not agree."""
    try:
        layout = [(str(name), str(kind), int(length)) for name, kind, length in json.loads(columns.layout)]
        size = sum(length for _, _, length in layout) * _WIDTH
        if any(kind not in (INTEGER, FLOAT) or length < 0 for _, kind, length in layout):
            raise StoreError("a stored sample has columns of an unknown kind; the raw output in runs/ still has them")
        # One byte more than expected reveals excess data without unpacking all of it.
        plain = zlib.decompressobj().decompress(columns.data, size + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise StoreError(f"a stored sample cannot be read ({error}); the raw output in runs/ still has it") from error
    if len(plain) != size:
        raise StoreError(
            f"a stored sample has {len(plain)} bytes instead of {size}; the raw output in runs/ still has it"
        )
    unpacked: dict[str, NDArray[Any]] = {}
    offset = 0
    for name, kind, length in layout:
        unpacked[name] = np.frombuffer(plain, dtype=f"<{kind}", count=length, offset=offset)
        offset += length * _WIDTH
    return unpacked
