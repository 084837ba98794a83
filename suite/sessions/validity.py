"""Decides whether a session's numbers may be used: step count, end marker, finite losses, trajectory, throttling.

Numbers of a session that is not `ok` never reach a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from foundation.unavailable import Unavailable
from reports.model.quantities import FREQUENCY_CAP, TEMPERATURE, THROTTLE_EVENTS, THROTTLE_FLAGS
from suite.sessions.loss_check import NOTHING_EXPECTED, ExpectedLosses, compare_losses, unchecked
from suite.sessions.record import Cause, IdlePower, SensorTrace, SessionRecord


class SessionStatus(StrEnum):
    """Whether a session counts."""

    OK = "ok"
    THROTTLED = "throttled"  # repeated at most twice
    INVALID = "invalid"  # it ran, but its numbers cannot be trusted
    UNSUPPORTED = "unsupported"  # repeating it is of no use
    FAILED = "failed"
    LOST = "lost"
    INTERRUPTED = "interrupted"


_STATUS_OF_CAUSE = {
    Cause.CRASHED: SessionStatus.FAILED,
    Cause.KILLED: SessionStatus.FAILED,
    Cause.INTERRUPTED: SessionStatus.INTERRUPTED,
    Cause.LOAD_ERROR: SessionStatus.FAILED,
    Cause.UNSUPPORTED: SessionStatus.UNSUPPORTED,
    Cause.ERROR: SessionStatus.FAILED,
    Cause.INCOMPLETE: SessionStatus.INVALID,
    Cause.LOST: SessionStatus.LOST,
}


@dataclass(frozen=True)
class Validity:
    """The status and its reason. The reason of `ok` is what could not be checked, or None if everything was."""

    status: SessionStatus
    reason: str | None = None


@dataclass(frozen=True)
class Expectation:
    """What a session has to fulfil.

    `measured_steps`: the least number of steps. `expected`: the reference's losses of the first steps. `trip_mc`: trip
    points by sensor name, in millidegrees Celsius. `throttle_notes`: the host's observations of throttling. `cpus`: the
    cores to which the runner should be pinned.
    """

    measured_steps: int
    expected: ExpectedLosses = NOTHING_EXPECTED
    trip_mc: Mapping[str, float] = field(default_factory=dict)
    throttle_notes: tuple[str, ...] = ()
    cpus: tuple[int, ...] | None = None


def judge(record: SessionRecord, expectation: Expectation) -> Validity:
    """Judges a session. The first problem found becomes the reason."""
    if not record.complete:
        return Validity(_STATUS_OF_CAUSE[record.cause], record.sentence)
    wrong = _wrong_count(record, expectation) or _wrong_cpus(record, expectation) or _wrong_losses(record, expectation)
    if wrong is not None:
        return Validity(SessionStatus.INVALID, wrong)
    throttled = throttling(record, expectation)
    if throttled is not None:
        return Validity(SessionStatus.THROTTLED, throttled)
    return Validity(SessionStatus.OK, _unchecked(record, expectation.expected))


def throttling(record: SessionRecord, expectation: Expectation) -> str | None:
    """Returns the evidence that the device throttled during the session, or None without any."""
    if expectation.throttle_notes:
        return expectation.throttle_notes[0]
    traces = [trace for trace in record.samples.values() if trace.values]
    found = (_throttled_by(trace, expectation.trip_mc.get(trace.sensor)) for trace in traces)
    return next((reason for reason in found if reason is not None), None)


def _throttled_by(trace: SensorTrace, trip_mc: float | None) -> str | None:
    first, lowest, highest = trace.values[0], min(trace.values), max(trace.values)
    if trace.quantity == THROTTLE_EVENTS and highest > first:
        return f"{trace.sensor} counted {highest - first:.0f} throttling events during the session"
    if trace.quantity == THROTTLE_FLAGS:
        flags = [int(value) for value in trace.values]
        held_back_now = any(value & 0xFFFF for value in flags)
        appeared = any((value & ~flags[0]) >> 16 for value in flags)
        if held_back_now or appeared:
            return f"{trace.sensor} reports throttling (flags up to 0x{max(flags):x})"
    if trace.quantity == FREQUENCY_CAP and lowest < first:
        return f"{trace.sensor} fell from {first:.0f} to {lowest:.0f} kHz during the session"
    if trace.quantity == TEMPERATURE and trip_mc is not None and highest >= trip_mc:
        return f"{trace.sensor} reached {highest / 1e3:.1f} degC, and its trip point is {trip_mc / 1e3:.1f} degC"
    return None


def _wrong_count(record: SessionRecord, expectation: Expectation) -> str | None:
    arrived = len(record.measured_steps)
    if arrived < expectation.measured_steps:
        return f"{arrived} measured steps arrived, but {expectation.measured_steps} were requested"
    announced = record.footer.steps if record.footer is not None else None
    if announced is not None and announced not in (len(record.steps), arrived):
        return f"the footer reports {announced} steps, but {len(record.steps)} arrived"
    return None


def _wrong_cpus(record: SessionRecord, expectation: Expectation) -> str | None:
    """Returns a sentence if the runner was not pinned as requested, as a phone may move what an adb shell starts."""
    if expectation.cpus is None or record.header is None:
        return None
    allowed, wanted = set(record.header.cpus_allowed), set(expectation.cpus)
    if allowed == wanted:
        return None
    used, required = (",".join(str(cpu) for cpu in sorted(cpus)) or "none" for cpus in (allowed, wanted))
    return f"the runner was allowed the cores {used} instead of {required}: correct `cpus` in the inventory"


def _wrong_losses(record: SessionRecord, expectation: Expectation) -> str | None:
    for step in record.steps:
        if not step.losses:
            return f"step {step.index} reports no losses"
        if not all(math.isfinite(loss) for loss in step.losses):
            return f"step {step.index} has a loss that is not finite ({', '.join(map(str, step.losses[:8]))})"
    if not expectation.expected.losses:
        return None
    compared = compare_losses([step.losses for step in record.steps], expectation.expected)
    return compared.reason if isinstance(compared, Unavailable) else compared.fault


def _unchecked(record: SessionRecord, expected: ExpectedLosses) -> str | None:
    """Returns what could not be checked about a session's losses."""
    if not expected.losses:
        return None if expected.shortfall is None else f"its losses were not compared: {expected.shortfall}"
    compared = compare_losses([step.losses for step in record.steps], expected)
    return None if isinstance(compared, Unavailable) else unchecked(compared, expected)


NOT_BRACKETED = Unavailable("idle power was not measured before and after the session")


@dataclass(frozen=True)
class SessionResult:
    """One session and its validity. `ordinal` counts planned sessions from 0, `attempt` the attempts at one from 0."""

    session_id: str
    ordinal: int
    attempt: int
    record: SessionRecord
    validity: Validity
    idle: IdlePower | Unavailable = NOT_BRACKETED
