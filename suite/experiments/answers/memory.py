"""Whether a training's memory grows with its steps, from readings between the steps of one long session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from foundation.unavailable import Unavailable
from reports.model.experiment import Answer, Cell, Curve, Evidence, Picture, interval_cells, table_of, with_rows
from reports.text.appearance import slot
from suite.endurance.memory import QUANTITIES, Growth, MemoryFinding, MemoryVerdict, judge_memory, read_kib
from suite.endurance.session import LongSession
from suite.experiments.experiment import Work
from suite.experiments.material import Material
from suite.experiments.own_work import long_sessions, taken_sessions
from suite.sessions.events import MemoryEvent

_PART = "session"
_WORDS = {
    MemoryVerdict.LEAK: "leaks memory",
    MemoryVerdict.FRAGMENTATION: "fragments its memory",
    MemoryVerdict.NONE: "needs no more memory the longer it goes on",
    MemoryVerdict.UNKNOWN: "may need more memory the longer it goes on, but that can't be told",
}
_LOOKS: Mapping[str, Literal["line", "dashes"]] = {"resident": "line", "heap in use": "dashes"}
_ROWS = 40


def more_parts(material: Material) -> Mapping[str, Work]:
    """Returns the sessions to measure."""
    return long_sessions(material, _PART)


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    sessions = taken_sessions(material, _PART, device)
    if not sessions:
        return Answer("No session has a result, so whether memory grows can't be told.")
    findings = {quant: judge_memory(one.record.steps, one.record.memory) for quant, one in sessions.items()}
    readings = [_readings(*item) for item in sessions.items()]
    return Answer(
        "; ".join(_sentence(quant, findings[quant], one) for quant, one in sessions.items()) + ".",
        _picture(sessions),
        with_rows(_growth_table(findings), _allocation_table(findings), *readings),
        _unavailable(findings),
    )


def _sentence(quant: str, finding: MemoryFinding, session: LongSession) -> str:
    steps = len(session.record.measured_steps)
    passes = steps / session.batches
    asked = finding.allocations
    if isinstance(asked, Unavailable):
        words = f"how often a step requests memory can't be told ({asked.reason})"
    elif asked.asking == 0:
        words = "no step requests any"
    else:
        words = f"{asked.asking:,} of {asked.steps:,} steps request some, up to {asked.most} times"
    return (
        f"training in {quant} {_WORDS[finding.verdict]}: over {steps:,} steps, {passes:.0f} times through its batches, "
        f"{finding.reason}; {words}"
    )


def _growth_table(findings: Mapping[str, MemoryFinding]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "setting": quant,
            "memory": name,
            "at the start, MiB": growth.level_kib / 1024,
            "gained, KiB": growth.gained_kib,
            **interval_cells(growth.interval),
            "bytes a step": 1024 * growth.kib_per_step,
            "steps": growth.steps,
        }
        for quant, finding in findings.items()
        for name, growth in finding.growth.items()
        if isinstance(growth, Growth)
    ]
    note = (
        "95 % intervals of the total gain: Student's t on the gains of ten equal parts of the session. Resident and "
        "anonymous memory include what was swapped out."
    )
    return table_of("Growth of memory", rows, note)


def _allocation_table(findings: Mapping[str, MemoryFinding]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "setting": quant,
            "steps": asked.steps,
            "steps that request memory": asked.asking,
            "times, median": asked.median,
            "times, most": asked.most,
            "bytes, most": asked.most_bytes,
        }
        for quant, finding in findings.items()
        if not isinstance(asked := finding.allocations, Unavailable)
    ]
    return table_of(
        "Allocations of a measured step", rows, "Calls of malloc and the like, by all threads and libraries."
    )


def _readings(quant: str, session: LongSession) -> Evidence:
    readings = session.record.memory
    chosen = readings[:: max(1, len(readings) // _ROWS)]
    rows: list[dict[str, Cell]] = [
        {"after step": reading.step}
        | {f"{name}, KiB": _known(reading, members) for name, members in QUANTITIES.items()}
        for reading in chosen
    ]
    return table_of(f"Readings in {quant}", rows, f"{len(rows)} of {len(readings)}.")


def _known(reading: MemoryEvent, members: Sequence[str]) -> int | None:
    found = read_kib(reading, members)
    return None if isinstance(found, Unavailable) else found


def _picture(sessions: Mapping[str, LongSession]) -> Picture:
    curves = []
    for quant, session in sessions.items():
        for name in _LOOKS:
            points = [
                (reading.step, found / 1024)
                for reading in session.record.memory
                if (found := _known(reading, QUANTITIES[name])) is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                curves.append(Curve(f"{quant}, {name}", x, y, look=_LOOKS[name], slot=slot(quant)))
    return Picture("Memory over steps", "step", "MiB", tuple(curves), "Resident memory includes what was swapped out.")


def _unavailable(findings: Mapping[str, MemoryFinding]) -> tuple[str, ...]:
    reasons = [
        f"{quant}, {name}: {growth.reason}"
        for quant, finding in findings.items()
        for name, growth in finding.growth.items()
        if isinstance(growth, Unavailable)
    ]
    return tuple(reasons)
