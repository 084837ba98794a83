"""A store with a run in it, for tests."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.model.measurement import Measurement
from suite.results.measurement import Subject, measure
from suite.sessions.validity import SessionResult
from suite.store.identity import design_of
from suite.store.store import Store
from tests.support.suite import recorded_session as recorded

WORKLOAD: dict[str, Any] = {
    "model": "tiny",
    "method": "prge",
    "quant": "int8",
    "backend": "xnnpack",
    "q": 4,
    "b": 4,
    "T": 64,
    "rank": 16,
}
KEY = "tiny/prge/int8/xnnpack/q4/b4/T64/rank16"
HARDWARE: dict[str, Any] = {"cpu": "Some CPU", "cores": 2}
REFERENCE = ((2.0, 2.5), (1.99, 2.49))


@dataclass(frozen=True)
class Begun:
    """Ids of a run that has one measurement under way."""

    store: Store
    run_id: str
    device_id: int
    measurement_id: int


def begin(
    path: Path,
    *,
    quant: str = "int8",
    device: str = "local",
    hardware=HARDWARE,
    os_build: str = "Debian 12",
    purpose: str = "run",
    steps: int = 10,
) -> Begun:
    store = Store.open(path)
    plan = {"sessions": 3, "steps": steps}
    command = ["suite", "run", "--task", "my file"]
    run_id = store.begin_run(plan, command, {"torch": "2.13.0"}, purpose=purpose)
    device_id = store.record_device(device, "local", False, hardware)
    store.record_device_state(
        run_id,
        device_id,
        os_build,
        {"governor": "performance"},
        [{"name": "disk", "status": "ok", "detail": "", "remedy": ""}],
    )
    workload = WORKLOAD | {"quant": quant}
    store.record_artifact("abc123", workload, {"program_bytes": 10})
    measurement_id = store.begin_measurement(
        run_id, device_id, workload, planned_sessions=3, artifact_hash="abc123", reference_losses=REFERENCE,
        design=design_of(plan),
    )  # fmt: skip
    return Begun(store, run_id, device_id, measurement_id)


def session(begun_run_id: str, ordinal: int, attempt: int = 0, **how) -> SessionResult:
    return recorded.result(ordinal, attempt=attempt, session=f"{begun_run_id}.s{ordinal}.a{attempt}", **how)


def finish(begun: Begun, *ms: float, device: str = "local", status: str = "ok", threads: int = 2) -> Measurement:
    """Adds a session for each of `ms`, the statistics, and ends the run."""
    for ordinal, value in enumerate(ms):
        made = session(begun.run_id, ordinal, ms=value, status=status, threads=threads)
        begun.store.add_session(begun.measurement_id, made)
    subject = Subject(device, "local", False, WORKLOAD, planned_sessions=len(ms), program_bytes=10)
    found = measure(subject, begun.store.sessions_of(begun.measurement_id))
    begun.store.finish_measurement(begun.measurement_id, found)
    begun.store.finish_run(begun.run_id, "finished")
    return found


def large_session(run_id: str, ordinal: int) -> SessionResult:
    """A session whose samples hardly compress: a few hundred kilobytes."""
    noise = iter(range(10**9))
    lines = recorded.samples("p", lambda t: ((next(noise) * 2654435761) % 1000003) / 7, seconds=2000)
    made = session(run_id, ordinal)
    record = recorded.record(*lines, session=made.session_id, quantities={"p": "power_mw"})
    return SessionResult(made.session_id, ordinal, 0, record, made.validity)


def assert_sound(path: Path) -> None:
    """Asserts that SQLite finds nothing wrong with the file."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
