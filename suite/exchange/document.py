"""Defines the format of an exported run, and checks every value of another lab's file before it is trusted.

A file's statistics must follow from its steps.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints, model_validator

from suite import stats
from suite.exchange.measurement_document import (
    Latency,
    MeasurementDocument,
    Missing,
    Name,
    Part,
    Plain,
    Role,
    Texts,
    Word,
)
from suite.sessions.events import Count, DefectKind, FooterEvent, HeaderEvent, LoadEvent, Loss, Rows, Text
from suite.sessions.record import Cause
from suite.sessions.validity import SessionStatus

_NS_PER_MS = 1e6
_TOLERANCE = 1e-6


def require_forward(t0_ns: Sequence[int], t1_ns: Sequence[int]) -> None:
    """Raises ValueError if a step ends before it starts."""
    if any(end < begin for begin, end in zip(t0_ns, t1_ns, strict=True)):
        raise ValueError("a step ends before it starts")


def step_median_ms(phases: Sequence[str], t0_ns: Sequence[int], t1_ns: Sequence[int]) -> float | None:
    """Returns the median duration of the measured steps in milliseconds, or None without any."""
    durations = [
        (end - begin) / _NS_PER_MS
        for phase, begin, end in zip(phases, t0_ns, t1_ns, strict=True)
        if phase == "measured"
    ]
    return stats.median(durations) if durations else None


def require_medians(median_ms: float, sessions_ms: Sequence[float], found_ms: Sequence[float | None]) -> None:
    """Raises ValueError unless a latency is the median of its sessions' medians, each of which matches its steps.

    `median_ms` and `sessions_ms` are the document's; `found_ms` is computed from the steps of each session.
    """
    medians = sorted(value for value in found_ms if value is not None)
    for session_ms in sessions_ms:
        place = bisect.bisect(medians, session_ms)
        neighbours = medians[max(place - 1, 0) : place + 1]
        if not any(math.isclose(session_ms, value, rel_tol=_TOLERANCE) for value in neighbours):
            raise ValueError(f"a session's latency of {session_ms:g} ms matches no steps in the file")
    if sessions_ms and not math.isclose(median_ms, stats.median(list(sessions_ms)), rel_tol=_TOLERANCE):
        raise ValueError(f"the latency of {median_ms:g} ms is not the median of its sessions")


FORMAT = "edge-training-suite run"
SCHEMA = 2
#: Schema 1 called another setting int8 (suite/store/identity.py).
FORMER_SCHEMA = 1

_MOST_ROWS = 2_000_000

_LAB = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
LAB_PATTERN = rf"^{_LAB}$"
_RUN_ID = rf"^\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d-[0-9a-f]{{4}}(\.{_LAB})*$"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00$"
_SESSION_ID = r"^[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}$"

Time = Annotated[str, StringConstraints(pattern=_TIME)]


class Idle(Part):
    """The idle device's power before and after a session, in mW."""

    before_mw: FiniteFloat
    after_mw: FiniteFloat


class DefectLine(Part):
    """A defect of a runner's output."""

    kind: Annotated[DefectKind, Field(strict=False)]
    line: Count
    detail: Text


def _same_length(what: str, *columns: Sequence[object]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"the columns of {what} have {' and '.join(str(len(column)) for column in columns)} rows")


class Steps(Part):
    """The steps of a session, column by column."""

    index: Annotated[Rows[Count], Field(max_length=_MOST_ROWS)]
    phase: Annotated[Rows[Literal["warm_up", "measured"]], Field(max_length=_MOST_ROWS)]
    t0_ns: Annotated[Rows[Count], Field(max_length=_MOST_ROWS)]
    t1_ns: Annotated[Rows[Count], Field(max_length=_MOST_ROWS)]
    losses: Annotated[Rows[Annotated[Rows[Loss], Field(max_length=1024)]], Field(max_length=_MOST_ROWS)]

    @model_validator(mode="after")
    def _whole_rows(self) -> Steps:
        _same_length("steps", self.index, self.phase, self.t0_ns, self.t1_ns, self.losses)
        require_forward(self.t0_ns, self.t1_ns)
        return self


class Samples(Part):
    """The readings of a sensor in a session."""

    sensor: Name
    quantity: Word
    clock_error_ms: Annotated[FiniteFloat, Field(ge=0)]
    t_ns: Annotated[Rows[Count], Field(max_length=_MOST_ROWS)]
    value: Annotated[Rows[FiniteFloat], Field(max_length=_MOST_ROWS)]

    @model_validator(mode="after")
    def _whole_rows(self) -> Samples:
        _same_length("samples", self.t_ns, self.value)
        return self


class Session(Part):
    """A session and its validity."""

    session_id: Annotated[str, StringConstraints(pattern=_SESSION_ID)]
    ordinal: Annotated[int, Field(ge=0, lt=100_000)]
    attempt: Annotated[int, Field(ge=0, lt=100_000)]
    status: Annotated[SessionStatus, Field(strict=False)]
    reason: Text | None
    cause: Annotated[Cause, Field(strict=False)]
    sentence: Text
    committed_at: Time
    idle: Idle | Missing
    header: HeaderEvent | None
    load: LoadEvent | None
    footer: FooterEvent | None
    sensor_errors: Texts
    defects: Annotated[Rows[DefectLine], Field(max_length=10_000)]
    steps: Steps
    samples: Annotated[Rows[Samples], Field(max_length=1000)]

    @model_validator(mode="after")
    def _sensors_once(self) -> Session:
        _once("the sensor", [trace.sensor for trace in self.samples])
        return self


class Measurement(Part):
    """The sessions of a workload on a device, and the statistics over them (None: it was not finished)."""

    device: Name
    workload: Plain
    role: Role
    artifact: Name | None
    runner: Name | None
    planned_sessions: Annotated[int, Field(ge=0, lt=100_000)]
    reference_losses: Annotated[Rows[Rows[FiniteFloat]], Field(max_length=100_000)]
    started_at: Time
    finished_at: Time | None
    document: MeasurementDocument | None
    sessions: Annotated[Rows[Session], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _sessions_once(self) -> Measurement:
        _once("the session", [(session.ordinal, session.attempt) for session in self.sessions])
        return self

    @model_validator(mode="after")
    def _latency_follows(self) -> Measurement:
        latency = None if self.document is None else self.document.latency_ms
        if isinstance(latency, Latency) and isinstance(latency.median, int | float):
            steps = [session.steps for session in self.sessions]
            found = [step_median_ms(item.phase, item.t0_ns, item.t1_ns) for item in steps]
            require_medians(latency.median, latency.sessions, found)
        return self


class State(Part):
    """A device's state at the start of its part of the run."""

    at: Time
    os_build: Text
    facts: Plain
    preflight: Annotated[Rows[Plain], Field(max_length=1000)]


class Device(Part):
    """A device of the run. `hardware` identifies it: if that changes, it is another device."""

    name: Name
    kind: Name
    emulated: bool
    hardware: Plain
    states: Annotated[Rows[State], Field(max_length=1000)]


class Artifact(Part):
    """A program and its metadata."""

    hash: Name
    workload: Plain
    metadata: Plain


class RunDocument(Part):
    """A whole file. `measurement_version` is that of the method of measuring, which decides what numbers mean."""

    format: Literal["edge-training-suite run"]
    schema_version: Literal[2] = Field(alias="schema")
    measurement_version: Count
    run_id: Annotated[str, StringConstraints(pattern=_RUN_ID, max_length=120)]
    started_at: Time
    finished_at: Time | None
    status: Literal["finished", "partial", "failed", "interrupted"]
    command: Annotated[Rows[Text], Field(max_length=1000)]
    plan: Plain
    environment: Texts
    devices: Annotated[Rows[Device], Field(max_length=10_000)]
    artifacts: Annotated[Rows[Artifact], Field(max_length=100_000)]
    measurements: Annotated[Rows[Measurement], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _agrees(self) -> RunDocument:
        names, hashes = [device.name for device in self.devices], [artifact.hash for artifact in self.artifacts]
        _once("the device", names)
        _once("the artifact", hashes)
        _once("the session", [session.session_id for item in self.measurements for session in item.sessions])
        known_names, known_hashes = frozenset(names), frozenset(hashes)
        for item in self.measurements:
            if item.device not in known_names:
                raise ValueError(f"a measurement names the device {item.device!r}, which is not among its devices")
            if item.artifact is not None and item.artifact not in known_hashes:
                raise ValueError(
                    f"a measurement names the artifact {item.artifact!r}, which is not among its artifacts"
                )
            if any(not session.session_id.startswith(f"{self.run_id}.") for session in item.sessions):
                raise ValueError("the id of a session does not begin with that of its run")
        return self


def _once(what: str, names: Sequence[Hashable]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{what} {twice!r} occurs twice")
