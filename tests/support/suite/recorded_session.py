"""Lines as printed by the runner (docs/contracts.md), for tests that change one thing at a time."""

import json
from typing import Any

from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from suite.sessions.record import SessionRecord
from suite.sessions.validity import SessionResult, SessionStatus, Validity

MS = 1_000_000
START_NS = 5_000_000_000_000
LOAD_END_NS = START_NS + 400 * MS
Line = dict[str, Any]


def header(session: str = "s", **more: Any) -> Line:
    return {
        "event": "header",
        "schema": 1,
        "session": session,
        "runner": "0.1.0",
        "clock": "CLOCK_MONOTONIC",
        "t_ns": START_NS,
        "pid": 4711,
        "machine": "x86_64",
        "kernel": "6.1.0",
        "cpu": "Some CPU",
        "cpu_count": 2,
        "cpu_features": ["avx2", "f16c"],
        "threads": 2,
        "cpus_allowed": [0, 1],
        "executorch": "1.5.1",
    } | more


def load(**more: Any) -> Line:
    return {
        "event": "load",
        "t0_ns": START_NS + 150 * MS,
        "t1_ns": LOAD_END_NS,
        "rss_kib": 90_000,
        "hwm_kib": 95_000,
        "swap_kib": 0,
        "program_bytes": 1_000_000,
    } | more


def step(index: int, phase: str = "measured", ms: float = 100.0, losses: Any = (2.0, 2.5), **more: Any) -> Line:
    """Step `index`, back to back with those before it if all take `ms`."""
    t0_ns = LOAD_END_NS + int(index * ms * MS)
    line = {"event": "step", "index": index, "phase": phase, "t0_ns": t0_ns, "t1_ns": t0_ns + int(ms * MS)}
    return line | {"losses": list(losses)} | more


def steps(warm_up: int = 2, measured_steps: int = 5, ms: float = 100.0, losses: Any = None) -> list[Line]:
    """Consecutive steps; `losses[i]` where given, else falling ones."""
    return [
        step(
            index,
            "warm_up" if index < warm_up else "measured",
            ms,
            losses[index] if losses else (2.0 - 0.01 * index, 2.5 - 0.01 * index),
        )
        for index in range(warm_up + measured_steps)
    ]


def memory(after: int, ms: float = 100.0, **more: Any) -> Line:
    """The memory in use just after step `after` of steps that take `ms`."""
    t_ns = step(after, ms=ms)["t1_ns"] + 1000
    line = {"event": "memory", "step": after, "t_ns": t_ns, "rss_kib": 90_000, "pss_kib": 88_000}
    heap = {"heap_used_kib": 10_000, "heap_held_kib": 12_000}
    return line | {"anonymous_kib": 60_000, "swap_kib": 0} | heap | {"unavailable": {}} | more


def sample(t_ns: int, value: float, sensor: str = "VDD_IN") -> Line:
    return {"event": "sample", "t_ns": t_ns, "sensor": sensor, "value": value}


def samples(sensor: str, value: Any, *, seconds: float, hz: float = 10.0, start_ns: int = START_NS) -> list[Line]:
    """`value` is a number, or a function of the seconds since the first sample."""
    made = []
    for k in range(int(seconds * hz) + 1):
        level = value(k / hz) if callable(value) else value
        made.append(sample(start_ns + int(k / hz * 1e9), level, sensor))
    return made


def footer(**more: Any) -> Line:
    return {
        "event": "footer",
        "cause": "completed",
        "reason": "",
        "error_code": None,
        "stage": None,
        "steps": None,
        "hwm_kib": 120_000,
        "swap_kib": 500,
        "minor_faults": 10,
        "major_faults": 0,
        "sampler_cpu_ns": 1000,
        "t_ns": START_NS + 10_000 * MS,
    } | more


def text(lines: list[Line], *, end: bool = True) -> list[str]:
    """Formats them as the runner does, with the end marker."""
    printed = [json.dumps(line) for line in lines]
    return [*printed, json.dumps({"event": "end", "lines": len(lines)})] if end else printed


def whole(*more: Line, session: str = "s", threads: int = 2, **how: Any) -> list[str]:
    """A complete session; `more` (samples, say) comes before the footer."""
    return text([header(session, threads=threads), load(), *steps(**how), *more, footer()])


def record(*more: Line, session: str = "s", quantities: dict[str, str] | None = None, **how: Any) -> SessionRecord:
    return collect(session, whole(*more, session=session, **how), ProcessEnd(rc=0), quantities)


def result(ordinal: int = 0, *more: Line, attempt: int = 0, status: str = "ok", **how: Any) -> SessionResult:
    """A judged session; its id contains ordinal and attempt."""
    session = how.pop("session", f"s{ordinal}.a{attempt}")
    reason = None if status == "ok" else f"it is {status}"
    made = record(*more, session=session, **how)
    return SessionResult(session, ordinal, attempt, made, Validity(SessionStatus(status), reason))
