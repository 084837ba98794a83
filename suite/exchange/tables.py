"""Measurements, sessions, steps and samples as rows of four tables: stored units with all digits, units in the names.

What was not measured is None, and the reasons stand in the last column of the measurements.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from foundation.unavailable import Unavailable, is_number
from reports.downloads import METRICS, metric_at
from suite.exchange.stored import StoredMeasurement, StoredSession

Kind = Literal["text", "whole", "number", "truth", "numbers"]
Cell = str | int | float | bool | tuple[float, ...] | None
Cells = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table's name and its columns with their kinds; `numbers` is a list of them in one cell."""

    name: str
    columns: Mapping[str, Kind]


_WORKLOAD: Mapping[str, Kind] = {
    **dict.fromkeys(("model", "method", "quant", "backend"), "text"),
    **dict.fromkeys(("q", "b", "T", "rank"), "whole"),
}
_NO_NUMBERS: Mapping[str, Kind] = {
    **dict.fromkeys(("energy_method", "reference_setting"), "text"),
    **dict.fromkeys(("energy_short", "throttled"), "truth"),
    **dict.fromkeys(("peak_memory_kib", "memory_after_load_kib", "program_bytes", "weight_bytes"), "whole"),
    "loss_reference_steps": "whole",
}
_NAMED: Mapping[str, Kind] = {
    "run_id": "text",
    "measurement_id": "whole",
    "role": "text",
    "device": "text",
    "workload_key": "text",
}
_SESSION: Mapping[str, Kind] = {**_NAMED, "session_id": "text"}

MEASUREMENTS = Table(
    "measurements",
    {
        **_NAMED,
        **dict.fromkeys(("started_at", "purpose", "kind"), "text"),
        "emulated": "truth",
        **_WORKLOAD,
        "planned_sessions": "whole",
        **dict.fromkeys(("status", "reason"), "text"),
        **{name: _NO_NUMBERS.get(name, "number") for name in METRICS},
        "unavailable": "text",
    },
)
SESSIONS = Table(
    "sessions",
    {
        **_SESSION,
        **dict.fromkeys(("ordinal", "attempt"), "whole"),
        **dict.fromkeys(("status", "reason", "cause"), "text"),
        **dict.fromkeys(("median_ms", "load_ms"), "number"),
        **dict.fromkeys(("hwm_kib", "t_begin_ns"), "whole"),
        **dict.fromkeys(("idle_before_mw", "idle_after_mw"), "number"),
        "committed_at": "text",
    },
)
STEPS = Table(
    "steps",
    {
        **_SESSION,
        "step": "whole",
        "phase": "text",
        **dict.fromkeys(("t0_ns", "t1_ns"), "whole"),
        **dict.fromkeys(("latency_ms", "mean_loss"), "number"),
        "losses": "numbers",
    },
)
SAMPLES = Table(
    "samples", {**_SESSION, **dict.fromkeys(("sensor", "quantity"), "text"), "t_ns": "whole", "value": "number"}
)
TABLES = (MEASUREMENTS, SESSIONS, STEPS, SAMPLES)


def measurement_row(measured: StoredMeasurement) -> Cells:
    """A row of `MEASUREMENTS`."""
    row, document = measured.row, measured.document
    workload = json.loads(row["workload"])
    found = {name: metric_at(document or {}, path) for name, path in METRICS.items()}
    missing = [f"{name}: {cell.reason}" for name, cell in found.items() if isinstance(cell, Unavailable)]
    cells = [_of_kind(cell, MEASUREMENTS.columns[name]) for name, cell in found.items()]
    return (
        *_named(measured),
        *(measured.run["started_at"], measured.run["purpose"], row["kind"], bool(row["emulated"])),
        *(_of_kind(workload.get(name), kind) for name, kind in _WORKLOAD.items()),
        *(row["planned_sessions"], row["status"], row["reason"]),
        *cells,
        "; ".join(missing) if document is not None else "the measurement was not finished",
    )


def session_row(measured: StoredMeasurement, session: StoredSession) -> Cells:
    """A row of `SESSIONS`."""
    row, idle = session.row, json.loads(session.row["idle"])
    stored = ("ordinal", "attempt", "status", "reason", "cause", "median_ms", "load_ms", "hwm_kib", "t_begin_ns")
    return (
        *(*_named(measured), row["id"]),
        *(row[name] for name in stored),
        *(idle.get("before_mw"), idle.get("after_mw"), row["committed_at"]),
    )


def step_rows(measured: StoredMeasurement, session: StoredSession) -> Iterator[Cells]:
    """The rows of `STEPS` of a session. Losses may be NaN or infinite."""
    named = (*_named(measured), session.row["id"])
    for step in session.steps:
        mean = sum(step.losses) / len(step.losses) if step.losses else None
        yield (*named, step.index, step.phase, step.t0_ns, step.t1_ns, step.latency_ms, mean, tuple(step.losses))


def sample_rows(measured: StoredMeasurement, session: StoredSession) -> Iterator[Cells]:
    """The rows of `SAMPLES` of a session; the quantity names the value's unit."""
    for trace in session.samples.values():
        named = (*_named(measured), session.row["id"], trace.sensor, trace.quantity)
        for t_ns, sampled in zip(trace.t_ns, trace.values, strict=True):
            yield (*named, t_ns, float(sampled))


def _named(measured: StoredMeasurement) -> tuple[Cell, ...]:
    row = measured.row
    return (row["run_id"], row["id"], row["role"], row["name"], row["workload_key"])


def _of_kind(found: Any, kind: Kind) -> Cell:
    """The value if it is of its column's kind, else None: a table has one kind for each column."""
    if kind == "truth":
        return found if isinstance(found, bool) else None
    if kind == "text":
        return found if isinstance(found, str) else None
    if not is_number(found):
        return None
    return float(found) if kind == "number" else int(found)
