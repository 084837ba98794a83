"""A run as a trace for ui.perfetto.dev: Chrome's JSON trace format, in which times are microseconds.

    process = device, thread = session, slice = session, load or step, counter = sensor

A session's times are its device's own clock, which no other device shares. So each session is placed on the run's
timeline as a whole: it ends where the host had stored it. Within a session nothing is shifted against anything else.
Format: "Trace Event Format" (Google, 2016), events X, C and M.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from sqlalchemy import Connection

from devices.atomic import replacing
from suite.errors import UserError
from suite.events import StepEvent, printable
from suite.exchange.stored import (
    StoredMeasurement,
    StoredSession,
    measurements,
    run_row,
    sample_count,
    sessions,
)
from suite.store.finding import find_run
from suite.store.store import Store
from suite.trace import SensorTrace

Event = dict[str, Any]

#: From so many steps and samples on a trace is compressed, unless its name says otherwise: about 10 MB as text.
COMPRESSED_FROM = 100_000

# A thread whose number is that of a process is taken for its main thread, and 0 for the idle one.
_FIRST_THREAD = 1_000_000

#: Quantity -> (unit, factor to it).
_UNITS: Mapping[str, tuple[str, float]] = {
    "power_mw": ("mW", 1.0),
    "memory_kib": ("KiB", 1.0),
    "temperature_mc": ("degC", 1e-3),
    "energy_mj": ("mJ", 1.0),
    "frequency_khz": ("kHz", 1.0),
}


def write_trace(store: Store, run: str, path: Path | None) -> Path:
    """Writes the trace of a run (what `find_run` takes), session by session -> its file.

    A name that ends with `.gz` is compressed. None: `trace-RUN.json` in the current folder, with `.gz` when it
    is large. UserError for an unknown run and for a file that cannot be written.
    """
    run_id = find_run(store, run)
    with store.database.reading() as connection:
        if path is None:
            large = sample_count(connection, run_id) >= COMPRESSED_FROM
            path = Path(f"trace-{run_id}.json{'.gz' if large else ''}")
        try:
            with replacing(path) as stream, _text(stream, compressed=path.suffix == ".gz") as text:
                _write(text, run_id, _events(connection, run_id))
        except OSError as error:
            raise UserError(
                f"the trace cannot be written to {path} ({error.strerror}, error {error.errno}): name another file "
                "with --to, or free space there"
            ) from error
    return path


@contextlib.contextmanager
def _text(stream: BinaryIO, *, compressed: bool) -> Iterator[TextIO]:
    with contextlib.ExitStack() as stack:
        # No time of day in the header, so that the same run gives the same file.
        binary: Any = stack.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0)) if compressed else stream
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


def _write(text: TextIO, run_id: str, events: Iterable[Event]) -> None:
    text.write(f'{{"displayTimeUnit":"ms","otherData":{json.dumps({"run": run_id})},"traceEvents":[')
    for index, event in enumerate(events):
        text.write(",\n" if index else "\n")
        text.write(json.dumps(event, allow_nan=False, separators=(",", ":")))
    text.write("\n]}\n")


def _events(connection: Connection, run_id: str) -> Iterator[Event]:
    run = run_row(connection, run_id)
    begin_us = _microseconds(run["started_at"])
    processes: dict[str, int] = {}
    thread = _FIRST_THREAD
    for measured in measurements(connection, run):
        name = str(measured.row["name"])
        if name not in processes:
            processes[name] = len(processes) + 1
            yield _named("process_name", {"pid": processes[name]}, name)
        for session in sessions(connection, measured.row["id"]):
            thread += 1
            yield _named("thread_name", {"pid": processes[name], "tid": thread}, _label(measured, session))
            yield from _session(session, measured, processes[name], thread, begin_us)


def _session(
    session: StoredSession, measured: StoredMeasurement, process: int, thread: int, begin_us: float
) -> Iterator[Event]:
    """All events of a session; none for one of which nothing with a time arrived."""
    events = json.loads(session.row["events"])
    times = _times(session, events)
    if not times:
        return
    first, last = min(times), max(times)
    shift_us = _microseconds(session.row["committed_at"]) - begin_us - (last - first) / 1e3

    def at(t_ns: int) -> float:
        return round(shift_us + (t_ns - first) / 1e3, 3)

    row = session.row
    facts = {"status": row["status"], "reason": row["reason"] or "", "session": row["id"]}
    placed = {"pid": process, "tid": thread}
    yield _slice(_label(measured, session), "session", at(first), at(last), placed, facts)
    load = events["load"]
    if load is not None:
        yield _slice("load", "load", at(load["t0_ns"]), at(load["t1_ns"]), placed, {"rss_kib": load["rss_kib"] or 0})
    for step in session.steps:
        yield _slice(_PHASES[step.phase], "step", at(step.t0_ns), at(step.t1_ns), placed, _step_facts(step))
    for trace in session.samples.values():
        unit, factor = _UNITS.get(trace.quantity, (trace.quantity, 1.0))
        name = printable(f"{trace.sensor} ({unit})", 200)
        for t_ns, value in _finite(trace):
            yield {
                "ph": "C", "name": name, "cat": "sensor", "ts": at(t_ns), "pid": process, "args": {unit: value * factor}
            }  # fmt: skip


_PHASES = {"warm_up": "warm-up step", "measured": "step"}


def _slice(
    name: str, category: str, begin: float, end: float, placed: Mapping[str, int], facts: Mapping[str, Any]
) -> Event:
    duration = max(0.0, round(end - begin, 3))
    return {"ph": "X", "name": name, "cat": category, "ts": begin, "dur": duration, **placed, "args": dict(facts)}


def _named(what: str, placed: Mapping[str, int], name: str) -> Event:
    return {"ph": "M", "name": what, **placed, "args": {"name": printable(name, 200)}}


def _label(measured: StoredMeasurement, session: StoredSession) -> str:
    """`int8 session 2`, with its workload's other numbers left to the slice's arguments."""
    quant = str(json.loads(measured.row["workload"]).get("quant", measured.row["workload_key"]))
    role = "" if measured.row["role"] == "measured" else f" {measured.row['role']}"
    again = f", attempt {session.row['attempt'] + 1}" if session.row["attempt"] else ""
    return printable(f"{quant}{role} session {session.row['ordinal'] + 1}{again}", 200)


def _times(session: StoredSession, events: Mapping[str, Any]) -> list[int]:
    """First and last times of each part of a session, nanoseconds of the device's clock."""
    found = [part[key] for part in events.values() if part for key in ("t_ns", "t0_ns", "t1_ns") if part.get(key)]
    found += [time for step in session.steps for time in (step.t0_ns, step.t1_ns)]
    return found + [
        time for trace in session.samples.values() if trace.t_ns for time in (min(trace.t_ns), max(trace.t_ns))
    ]


def _step_facts(step: StepEvent) -> dict[str, Any]:
    mean = sum(step.losses) / len(step.losses) if step.losses else math.nan
    return {"index": step.index, "mean_loss": mean if math.isfinite(mean) else str(mean)}


def _finite(trace: SensorTrace) -> Iterator[tuple[int, float]]:
    """Counters are numbers; what a sensor gave besides is left out."""
    return ((t_ns, value) for t_ns, value in zip(trace.t_ns, trace.values, strict=True) if math.isfinite(value))


def _microseconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() * 1e6
