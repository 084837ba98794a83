"""Reads the output of a session as a whole: its events in order, and what is wrong with their order.

The output comes from a device and is not trusted: the number of lines and of kept defects is limited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from suite.sessions.events import (
    CallEvent,
    Defect,
    DefectKind,
    EndEvent,
    Event,
    FooterEvent,
    HeaderEvent,
    LoadEvent,
    MemoryEvent,
    PartsEvent,
    SampleEvent,
    StepEvent,
    parse_line,
)

MAX_LINES = 2_000_000
MAX_DEFECTS = 50


@dataclass(frozen=True)
class EventLog:
    """Events in order. At most `MAX_DEFECTS` harmless and as many fatal defects are kept; the counts include all."""

    events: tuple[Event, ...]
    defects: tuple[Defect, ...]
    defect_count: int
    fatal_count: int


@dataclass
class _Reader:
    """Checks the contract's order: header, load, steps, footer, end; samples anywhere between header and footer."""

    events: list[Event] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    defect_count: int = 0
    fatal_count: int = 0
    of_the_runner: int = 0  # lines that the runner must have counted: valid events and broken ones
    header: HeaderEvent | None = None
    load: LoadEvent | None = None
    last_step: StepEvent | None = None
    footer: FooterEvent | None = None
    end: EndEvent | None = None
    last_sample_ns: dict[str, int] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)  # number of named parts, by instruction

    def note(self, kind: DefectKind, line: int, detail: str) -> None:
        self.add(Defect(kind, line, detail))

    def add(self, defect: Defect) -> None:
        self.defect_count += 1
        self.fatal_count += defect.fatal
        kept = sum(other.fatal == defect.fatal for other in self.defects)
        if kept < MAX_DEFECTS:
            self.defects.append(defect)

    def take(self, event: Event, line: int) -> None:
        self._check_place(event, line)
        if isinstance(event, EndEvent):
            self._check_end(event, line)
        elif isinstance(event, StepEvent):
            self._check_step(event, line)
        elif isinstance(event, SampleEvent):
            self._check_sample(event, line)
        elif isinstance(event, MemoryEvent):
            self._check_memory(event, line)
        elif isinstance(event, PartsEvent):
            self.parts[event.instruction] = len(event.names)
        elif isinstance(event, CallEvent):
            self._check_call(event, line)
        elif isinstance(event, LoadEvent) and event.t1_ns < event.t0_ns:
            self.note(DefectKind.TIME_REVERSED, line, "the load ends before it starts")
        self._remember(event, line)
        self.events.append(event)
        self.of_the_runner += 1

    def _check_place(self, event: Event, line: int) -> None:
        if self.end is not None:
            self.note(DefectKind.OUT_OF_ORDER, line, f"{event.event} after the end marker")
        elif self.footer is not None and not isinstance(event, EndEvent | FooterEvent):
            self.note(DefectKind.OUT_OF_ORDER, line, f"{event.event} after the footer")
        elif self.header is None and not isinstance(event, HeaderEvent | FooterEvent | EndEvent):
            self.note(DefectKind.OUT_OF_ORDER, line, f"{event.event} before the header")
        elif isinstance(event, StepEvent) and self.load is None:
            self.note(DefectKind.OUT_OF_ORDER, line, f"step {event.index} before the load")
        elif isinstance(event, HeaderEvent | LoadEvent) and self.last_step is not None:
            self.note(DefectKind.OUT_OF_ORDER, line, f"{event.event} after step {self.last_step.index}")

    def _check_step(self, step: StepEvent, line: int) -> None:
        expected = 0 if self.last_step is None else self.last_step.index + 1
        if step.index < expected:
            self.note(DefectKind.OUT_OF_ORDER, line, f"step {step.index} where step {expected} was due")
        elif step.index > expected:
            self.note(DefectKind.MISSING_STEP, line, f"step {step.index} where step {expected} was due")
        if step.t1_ns <= step.t0_ns:
            self.note(DefectKind.TIME_REVERSED, line, f"step {step.index} does not end after its start")
        if self.last_step is not None:
            if step.t0_ns < self.last_step.t1_ns:
                self.note(DefectKind.TIME_REVERSED, line, f"step {step.index} starts before step {expected - 1} ends")
            if step.phase == "warm_up" and self.last_step.phase == "measured":
                self.note(DefectKind.OUT_OF_ORDER, line, f"warm-up step {step.index} after a measured step")

    def _check_sample(self, sample: SampleEvent, line: int) -> None:
        previous = self.last_sample_ns.get(sample.sensor)
        if previous is not None and sample.t_ns < previous:
            self.note(
                DefectKind.TIME_REVERSED, line, f"a sample of {sample.sensor} is {previous - sample.t_ns} ns back"
            )
        self.last_sample_ns[sample.sensor] = sample.t_ns

    def _check_memory(self, memory: MemoryEvent, line: int) -> None:
        step = self.last_step
        if step is None or step.index != memory.step:
            self.note(DefectKind.OUT_OF_ORDER, line, f"memory after step {memory.step}, which is not the last one")
        elif memory.t_ns < step.t1_ns:
            self.note(DefectKind.TIME_REVERSED, line, f"memory from before the end of step {memory.step}")

    def _check_call(self, call: CallEvent, line: int) -> None:
        step, named = self.last_step, self.parts.get(call.instruction, 0)
        if step is None or step.index != call.step:
            self.note(DefectKind.OUT_OF_ORDER, line, f"a call of step {call.step}, which is not the last one")
        elif not step.t0_ns <= call.t0_ns <= call.t1_ns <= step.t1_ns:
            self.note(DefectKind.TIME_REVERSED, line, f"a call outside of its step {call.step}")
        elif len(call.parts_ns) > named:
            self.note(DefectKind.OUT_OF_ORDER, line, f"a call of {len(call.parts_ns)} parts, {named} of them named")

    def _check_end(self, end: EndEvent, line: int) -> None:
        if end.lines != self.of_the_runner:
            self.note(DefectKind.LINE_COUNT, line, f"the runner wrote {end.lines} lines, {self.of_the_runner} arrived")

    def _remember(self, event: Event, line: int) -> None:
        if isinstance(event, StepEvent):
            self.last_step = event
            return
        slot = {HeaderEvent: "header", LoadEvent: "load", FooterEvent: "footer", EndEvent: "end"}.get(type(event))
        if slot is None:
            return
        if getattr(self, slot) is not None:
            self.note(DefectKind.DUPLICATE, line, f"a second {event.event}")
        else:
            setattr(self, slot, event)

    def close(self) -> None:
        for name, kind in (("header", DefectKind.NO_HEADER), ("footer", DefectKind.NO_FOOTER)):
            if getattr(self, name) is None:
                self.note(kind, 0, f"no {name} arrived")
        if self.end is None:
            self.note(DefectKind.NO_END, 0, "no end marker arrived")


def read_events(lines: Iterable[str]) -> EventLog:
    """Reads the lines of one session's standard output, with or without newlines. Never raises for their content."""
    reader = _Reader()
    last_bad: Defect | None = None
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            reader.note(DefectKind.TOO_MANY_LINES, number, f"more than {MAX_LINES} lines; the rest was not read")
            break
        parsed = parse_line(line, number)
        if parsed is None:
            continue
        # A bad line waits for the next one, as only the last line can be truncated.
        if last_bad is not None:
            reader.add(last_bad)
            last_bad = None
        if isinstance(parsed, Defect):
            reader.of_the_runner += parsed.kind is not DefectKind.GARBAGE
            last_bad = parsed
        else:
            reader.take(parsed, number)
    if last_bad is not None:
        reader.add(_truncated(last_bad) if reader.end is None else last_bad)
    reader.close()
    return EventLog(tuple(reader.events), tuple(reader.defects), reader.defect_count, reader.fatal_count)


def _truncated(defect: Defect) -> Defect:
    """Reclassifies a broken last line that starts like an object as truncated."""
    prefix = "not a JSON object: "
    if defect.kind is DefectKind.GARBAGE and defect.detail.startswith(prefix + "{"):
        return Defect(DefectKind.TRUNCATED, defect.line, defect.detail.removeprefix(prefix))
    return defect
