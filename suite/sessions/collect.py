"""Turns a runner's raw lines and the end of its process into a `SessionRecord`, with the cause of the end.

ExecuTorch's error codes get their names; some of them mean that a device cannot execute a program.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from devices.processes import ProcessEnd
from foundation.text import printable
from suite.sessions.event_log import EventLog, read_events
from suite.sessions.events import (
    CallEvent,
    Defect,
    DefectKind,
    FooterEvent,
    HeaderEvent,
    LoadEvent,
    MemoryEvent,
    PartsEvent,
    PeakEvent,
    ProductEvent,
    SampleEvent,
    SensorErrorEvent,
    StepEvent,
)
from suite.sessions.record import Cause, SensorTrace, SessionRecord


class ExecuTorchError(IntEnum):
    """`executorch::runtime::Error`."""

    Ok = 0x00
    Internal = 0x01
    InvalidState = 0x02
    EndOfMethod = 0x03
    AlreadyLoaded = 0x04
    NotSupported = 0x10
    NotImplemented = 0x11
    InvalidArgument = 0x12
    InvalidType = 0x13
    OperatorMissing = 0x14
    RegistrationExceedingMaxKernels = 0x15
    RegistrationAlreadyRegistered = 0x16
    NotFound = 0x20
    MemoryAllocationFailed = 0x21
    AccessFailed = 0x22
    InvalidProgram = 0x23
    InvalidExternalData = 0x24
    OutOfResources = 0x25
    DelegateInvalidCompatibility = 0x30
    DelegateMemoryAllocationFailed = 0x31
    DelegateInvalidHandle = 0x32


#: The device's runtime lacks what the program needs: an operator, a type, a delegate of that version. (At load,
#: `NotFound` means the same for the delegate itself: not registered, or it refused to start on this hardware.)
UNSUPPORTED = frozenset(
    {
        ExecuTorchError.NotSupported,
        ExecuTorchError.NotImplemented,
        ExecuTorchError.OperatorMissing,
        ExecuTorchError.DelegateInvalidCompatibility,
    }
)

OUT_OF_MEMORY = frozenset(
    {
        ExecuTorchError.MemoryAllocationFailed,
        ExecuTorchError.OutOfResources,
        ExecuTorchError.DelegateMemoryAllocationFailed,
    }
)

#: For a CPU that lacks an instruction set (such as fp16 arithmetic), XNNPACK logs this status, while ExecuTorch's own
#: code is just `Internal`.
UNSUPPORTED_HARDWARE_MARK = "xnn_status_unsupported_hardware"


def parse_code(text: str | None) -> int | None:
    """Parses a code such as "0x14". Returns None if there is none or it is not a code."""
    if text is None or len(text) > 12:
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def describe(code: int) -> str:
    """Formats a code's number and name, as in "0x14 OperatorMissing"."""
    try:
        return f"0x{code:02x} {ExecuTorchError(code).name}"
    except ValueError:
        return f"0x{code:02x} (not a known ExecuTorch error)"


def means_unsupported(code: int | None, stage: str | None, log: str) -> bool:
    """Returns whether a failure means that this device cannot execute the program, not that something went wrong.

    `stage` is the runner's stage, `log` the runtime's output. `NotFound` counts only at load: later it means a missing
    input or state, which is our error.
    """
    if code in UNSUPPORTED:
        return True
    if code == ExecuTorchError.NotFound and stage == "load":
        return True
    return code == ExecuTorchError.Internal and UNSUPPORTED_HARDWARE_MARK in log


_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
_GRACEFUL = {signal.SIGTERM, signal.SIGINT}
_STDERR_CHARS = 4000
_MAX_SENSORS = 256

_Single = TypeVar("_Single", HeaderEvent, LoadEvent, FooterEvent)


def collect(
    session_id: str, lines: Iterable[str], outcome: ProcessEnd, quantities: Mapping[str, str] | None = None
) -> SessionRecord:
    """Returns the record of one session.

    `quantities` maps the job's sensor names to their quantities (`power_mw` and so on). Samples of a sensor that the
    job did not name are left out and noted. Never raises because of the content of lines.
    """
    log = read_events(lines)
    known = dict(quantities) if quantities is not None else _names_seen(log)
    header = _first(log, HeaderEvent)
    strangers = _strangers(log, known)
    wrong = () if header is None or header.session == session_id else (_wrong_session(header, session_id),)
    defects = (*log.defects, *wrong, *strangers)
    facts = _Facts(
        header=header,
        load=_first(log, LoadEvent),
        steps=tuple(event for event in log.events if isinstance(event, StepEvent)),
        footer=_first(log, FooterEvent),
        fatal=tuple(defect for defect in defects if defect.fatal),
        outcome=outcome,
    )
    cause, sentence = _classify(facts)
    return SessionRecord(
        session_id=session_id,
        header=facts.header,
        load=facts.load,
        steps=facts.steps,
        samples=_traces(log, known),
        sensor_errors=_sensor_errors(log),
        footer=facts.footer,
        defects=defects,
        cause=cause,
        sentence=sentence,
        profile=tuple(event for event in log.events if isinstance(event, PartsEvent | CallEvent)),
        peaks=tuple(event for event in log.events if isinstance(event, PeakEvent)),
        products=tuple(event for event in log.events if isinstance(event, ProductEvent)),
        memory=tuple(event for event in log.events if isinstance(event, MemoryEvent)),
    )


@dataclass(frozen=True)
class _Facts:
    header: HeaderEvent | None
    load: LoadEvent | None
    steps: tuple[StepEvent, ...]
    footer: FooterEvent | None
    fatal: tuple[Defect, ...]
    outcome: ProcessEnd

    @property
    def progress(self) -> str:
        if self.steps:
            return f"after {len(self.steps)} steps"
        return "before the first step" if self.load is not None else "before the program was loaded"

    @property
    def log_tail(self) -> str:
        return printable(self.outcome.stderr_tail[-_STDERR_CHARS:].replace("\n", " "))


def _classify(facts: _Facts) -> tuple[Cause, str]:
    if facts.outcome.lost is not None:
        return Cause.LOST, f"the device was lost {facts.progress}: {printable(facts.outcome.lost, 400)}"
    if facts.outcome.stopped is not None:
        return (
            Cause.INTERRUPTED,
            f"the suite ended the runner {facts.progress}: {printable(facts.outcome.stopped, 400)}",
        )
    number = _signal_number(facts)
    if number is not None or (facts.footer is not None and facts.footer.cause == "signal"):
        return _by_signal(facts, number)
    if facts.footer is not None and facts.footer.cause == "error":
        return _by_error(facts, facts.footer)
    rc = facts.outcome.rc
    if facts.footer is None and rc not in (0, None):
        return (
            Cause.ERROR,
            f"the runner ended with exit code {rc} {facts.progress} and without a footer{_last_words(facts)}",
        )
    if rc not in (0, None):
        return Cause.ERROR, f"the runner reported completion but ended with exit code {rc}{_last_words(facts)}"
    if facts.fatal:
        return Cause.INCOMPLETE, f"the output is not complete {facts.progress}: {facts.fatal[0]}"
    if rc is None:
        return Cause.INCOMPLETE, f"the runner's exit code never arrived ({len(facts.steps)} steps did)"
    return Cause.COMPLETED, f"completed {len(facts.steps)} steps"


def _signal_number(facts: _Facts) -> int | None:
    """Returns the signal that ended the process, as reported or from an exit code above 128."""
    outcome = facts.outcome
    if outcome.signal is not None and outcome.signal in signal.Signals.__members__:
        return signal.Signals[outcome.signal]
    if outcome.rc is None:
        return None
    footer_differs = facts.footer is not None and facts.footer.cause == "error"
    candidate = outcome.rc - 128
    return candidate if not footer_differs and candidate in set(signal.Signals) else None


def _by_signal(facts: _Facts, number: int | None) -> tuple[Cause, str]:
    footer_reason = facts.footer.reason if facts.footer is not None else None
    name = _signal_name(number, footer_reason)
    if number in _CRASHES or (number is None and name in {crash.name for crash in _CRASHES}):
        hint = ": the CPU lacks an instruction that the program uses" if name == "SIGILL" else ""
        return Cause.CRASHED, f"the runner crashed with {name} {facts.progress}{hint}{_last_words(facts)}"
    ended_itself = facts.footer is not None and facts.footer.cause == "signal"
    if ended_itself and (number is None or number in _GRACEFUL):
        return Cause.INTERRUPTED, f"the runner was asked to stop by {name} and did so {facts.progress}"
    hint = ""
    if number == signal.SIGKILL:
        hint = f"; usually that is the kernel, out of memory ({_memory_words(facts)})"
    return Cause.KILLED, f"the runner was killed by {name} {facts.progress}{hint}"


def _signal_name(number: int | None, reason: str | None) -> str:
    if number is not None:
        return signal.Signals(number).name
    words = (reason or "").replace(":", " ").replace(",", " ").split()
    named = [word for word in words if word in signal.Signals.__members__]
    return named[0] if named else printable(reason or "a signal without a name", 200)


def _by_error(facts: _Facts, footer: FooterEvent) -> tuple[Cause, str]:
    code = parse_code(footer.error_code)
    reason = printable(footer.reason or "no reason given", 400)
    named = f" with {describe(code)}" if code is not None else ""
    stage = footer.stage or "unknown"
    if means_unsupported(code, footer.stage, f"{reason} {facts.log_tail}"):
        return Cause.UNSUPPORTED, f"this device cannot execute the program: {stage} failed{named} ({reason})"
    memory = f"; memory ran out ({_memory_words(facts)})" if code in OUT_OF_MEMORY else ""
    if stage == "load":
        return Cause.LOAD_ERROR, f"the program could not be loaded: it failed{named} ({reason}){memory}"
    return Cause.ERROR, f"the {stage} stage failed{named} {facts.progress} ({reason}){memory}"


def _memory_words(facts: _Facts) -> str:
    if facts.footer is not None and facts.footer.hwm_kib is not None:
        return f"peak {facts.footer.hwm_kib} KiB"
    if facts.load is not None and facts.load.rss_kib is not None:
        return f"{facts.load.rss_kib} KiB after load"
    return "memory in use unknown"


def _last_words(facts: _Facts) -> str:
    """Returns the runner's last output: the footer's reason after the signal's name, or else its error output."""
    reason = (facts.footer.reason or "") if facts.footer is not None else ""
    words = reason.partition(": ")[2].strip() or facts.log_tail.strip()
    return f"; its last words: {words[-300:]}" if words else ""


def _first(log: EventLog, kind: type[_Single]) -> _Single | None:
    return next((event for event in log.events if isinstance(event, kind)), None)


def _wrong_session(header: HeaderEvent, session_id: str) -> Defect:
    return Defect(
        DefectKind.WRONG_SESSION, 0, f"the header has session {printable(header.session, 100)}, not {session_id}"
    )


def _names_seen(log: EventLog) -> dict[str, str]:
    names = {event.sensor for event in log.events if isinstance(event, SampleEvent)}
    return dict.fromkeys(sorted(names)[:_MAX_SENSORS], "unknown")


def _strangers(log: EventLog, known: Mapping[str, str]) -> tuple[Defect, ...]:
    counts: dict[str, int] = {}
    for event in log.events:
        if isinstance(event, SampleEvent) and event.sensor not in known and len(counts) < _MAX_SENSORS:
            counts[event.sensor] = counts.get(event.sensor, 0) + 1
    return tuple(
        Defect(DefectKind.UNKNOWN_SENSOR, 0, f"{count} samples of {printable(name, 80)}, which the job does not name")
        for name, count in sorted(counts.items())
    )


def _traces(log: EventLog, known: Mapping[str, str]) -> dict[str, SensorTrace]:
    times: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    for event in log.events:
        if isinstance(event, SampleEvent) and event.sensor in known:
            times.setdefault(event.sensor, []).append(event.t_ns)
            values.setdefault(event.sensor, []).append(event.value)
    return {name: SensorTrace(name, known[name], tuple(times[name]), tuple(values[name])) for name in sorted(times)}


def _sensor_errors(log: EventLog) -> dict[str, str]:
    failed = [event for event in log.events if isinstance(event, SensorErrorEvent)]
    return {event.sensor: f"{event.reason} ({event.errors} times)" for event in failed[:_MAX_SENSORS]}
