r"""Writes a run as a trace for ui.perfetto.dev, in Chrome's JSON trace format, where times are in microseconds.

    process = device, thread = session, slice = session, load or step, counter = sensor

A session's times are those of its device's own clock, which no other device shares. So each session is placed on the
run's timeline as a whole, ending when the host stored it. Within a session nothing is shifted.
Format: "Trace Event Format" (Google, 2016), events X, C and M. Perfetto drops everything before zero, names a counter
by its event and its value with a space in between, and refuses a whole trace because of one character that is escaped
as two (`\ud83d\ude42`), so texts are not escaped.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from sqlalchemy import Connection

from foundation.atomic import replacing
from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json
from reports.model.quantities import sensor_quantity
from suite.sessions.events import StepEvent
from suite.sessions.record import SensorTrace
from suite.store.dialect import Row
from suite.store.finding import find_run
from suite.store.run_contents import StoredMeasurement, StoredSession, measurements, run_row, sample_count, sessions
from suite.store.store import Store

Event = dict[str, Json]

#: Traces with at least this many steps and samples (about 10 MB) are compressed, unless a file name is given.
COMPRESSED_FROM = 100_000

# A thread with the number of a process is taken for its main thread, and 0 for the idle one. Perfetto displays the
# numbers beside the names: processes count from 1, threads from here or from the next power of ten.
_THREADS_FROM = 1_000


def write_trace(store: Store, run: str, path: Path | None) -> Path:
    """Writes the trace of a run (what `find_run` takes), session by session. Returns its file.

    A file whose name ends in `.gz` is compressed. The default is `trace-RUN.json` in the current folder, with `.gz` if
    it is large. Raises UserError for an unknown run, or a file that cannot be written.
    """
    run_id = find_run(store, run)
    with store.database.reading() as connection:
        if path is None:
            large = sample_count(connection, run_id) >= COMPRESSED_FROM
            path = Path(f"trace-{run_id}.json{'.gz' if large else ''}")
        try:
            with replacing(path) as stream, _text(stream, compressed=path.suffix == ".gz") as text:
                _write(text, connection, run_row(connection, run_id))
        except OSError as error:
            raise UserError(
                f"the trace cannot be written to {path} ({error.strerror}, error {error.errno}): name another file "
                "with --to, or free space there"
            ) from error
    return path


@contextlib.contextmanager
def _text(stream: BinaryIO, *, compressed: bool) -> Iterator[TextIO]:
    with contextlib.ExitStack() as stack:
        # No time in the header, so that the same run always makes the same file.
        binary: Any = stack.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0)) if compressed else stream
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


def _write(text: TextIO, connection: Connection, run: Row) -> None:
    facts = json.dumps({"run": run["id"], "zero_is_at": run["started_at"]})
    text.write(f'{{"displayTimeUnit":"ms","metadata":{facts},"traceEvents":[')
    for index, event in enumerate(_events(connection, run)):
        text.write(",\n" if index else "\n")
        text.write(json.dumps(event, allow_nan=False, ensure_ascii=False, separators=(",", ":")))
    text.write("\n]}\n")


def _events(connection: Connection, run: Row) -> Iterator[Event]:
    begin_us = _microseconds(run["started_at"])
    found = measurements(connection, run)
    names = dict.fromkeys(str(stored.row["name"]) for stored in found)
    processes = {name: number for number, name in enumerate(names, start=1)}
    for name, process in processes.items():
        yield _name_event("process_name", {"pid": process}, name)
        yield _sort_event("process_sort_index", {"pid": process}, process)
    settings = _settings(found)
    thread = max(_THREADS_FROM, 10 ** len(str(len(processes))))
    for stored in found:
        row = stored.row
        for session in sessions(connection, row["id"]):
            thread += 1
            track = {"pid": processes[str(row["name"])], "tid": thread}
            label = _label(settings[row["workload_key"]], row["role"], session.row)
            yield _name_event("thread_name", track, label)
            yield _sort_event("thread_sort_index", track, thread)
            yield from _session(session, label, str(row["workload_key"]), track, begin_us)


def _session(
    session: StoredSession, label: str, workload: str, track: Mapping[str, int], begin_us: float
) -> Iterator[Event]:
    """Yields all events of a session, or none if nothing with a time arrived."""
    events = json.loads(session.row["events"])
    times = _times(session, events)
    if not times:
        return
    first, last = min(times), max(times)
    # Not before the run, even if the host's clock was set back meanwhile.
    shift_us = max(0.0, _microseconds(session.row["committed_at"]) - begin_us - (last - first) / 1e3)

    def at(t_ns: int) -> float:
        return round(shift_us + (t_ns - first) / 1e3, 3)

    yield _slice(label, "session", at(first), at(last), track, {"workload": workload, **_session_facts(session.row)})
    load = events["load"]
    if load is not None:
        yield _slice("load", "load", at(load["t0_ns"]), at(load["t1_ns"]), track, {"rss_kib": load["rss_kib"]})
    for step in session.steps:
        yield _slice(_PHASES[step.phase], "step", at(step.t0_ns), at(step.t1_ns), track, _step_facts(step))
    for trace in session.samples.values():
        quantity = sensor_quantity(trace.quantity)
        unit = printable(quantity.unit, 200)
        counter: Event = {"ph": "C", "name": printable(trace.sensor, 200), "cat": "sensor", "pid": track["pid"]}
        for t_ns, value in _finite(trace):
            yield {**counter, "ts": at(t_ns), "args": {unit: value * quantity.factor}}


_PHASES = {"warm_up": "warm-up step", "measured": "step"}


def _slice(
    name: str, category: str, begin: float, end: float, track: Mapping[str, int], facts: Mapping[str, Json]
) -> Event:
    duration = max(0.0, round(end - begin, 3))
    known = {key: fact for key, fact in facts.items() if fact is not None}
    return {"ph": "X", "name": name, "cat": category, "ts": begin, "dur": duration, **track, "args": known}


def _name_event(what: str, track: Mapping[str, int], name: str) -> Event:
    return {"ph": "M", "name": what, **track, "args": {"name": printable(name, 200)}}


def _sort_event(what: str, track: Mapping[str, int], place: int) -> Event:
    return {"ph": "M", "name": what, **track, "args": {"sort_index": place}}


def _settings(found: Sequence[StoredMeasurement]) -> dict[str, str]:
    """Names each workload by its setting and what distinguishes it from the run's others: `tiny int8 q16`."""
    workloads = {str(one.row["workload_key"]): json.loads(one.row["workload"]) for one in found}
    shared = set.intersection(*(set(key.split("/")) for key in workloads)) if workloads else set()
    settings = {}
    for key, workload in workloads.items():
        quant = str(workload.get("quant", key))
        parts = [part for part in key.split("/") if part == quant or part not in shared]
        settings[key] = " ".join(parts) or quant
    return settings


def _label(setting: str, role: str, session: Row) -> str:
    """Names a session: `int8 session 2`, with its status unless it is ok."""
    side = "" if role == "measured" else f" {role}"
    again = f", attempt {session['attempt'] + 1}" if session["attempt"] else ""
    status = "" if session["status"] == "ok" else f", {session['status']}"
    return printable(f"{setting}{side} session {session['ordinal'] + 1}{again}{status}", 200)


def _times(session: StoredSession, events: Mapping[str, Mapping[str, int] | None]) -> list[int]:
    """Returns the first and last time of each part of a session, in nanoseconds of the device's clock."""
    found = [part[key] for part in events.values() if part for key in ("t_ns", "t0_ns", "t1_ns") if part.get(key)]
    found += [time for step in session.steps for time in (step.t0_ns, step.t1_ns)]
    return found + [
        time for trace in session.samples.values() if trace.t_ns for time in (min(trace.t_ns), max(trace.t_ns))
    ]


def _session_facts(row: Row) -> dict[str, Json]:
    failed = [f"{sensor}: {error}" for sensor, error in json.loads(row["sensor_errors"]).items()]
    return {
        "status": row["status"],
        "reason": row["reason"],
        "failed_sensors": printable("; ".join(failed)) or None,
        "session": row["id"],
    }


def _step_facts(step: StepEvent) -> dict[str, Json]:
    if not step.losses:
        return {"index": step.index}
    mean = sum(step.losses) / len(step.losses)
    return {"index": step.index, "mean_loss": mean if math.isfinite(mean) else str(mean)}


def _finite(trace: SensorTrace) -> Iterator[tuple[int, float]]:
    """Yields the finite readings of a sensor, as clicking on a nan breaks Perfetto's page."""
    return ((t_ns, value) for t_ns, value in zip(trace.t_ns, trace.values, strict=True) if math.isfinite(value))


def _microseconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() * 1e6
