"""The lines a runner prints, as validated events; defects become data, never an exception.

The text comes from a device and is not trusted: line length, number of lines, list lengths and strings are bounded,
and control characters are replaced before anything reaches a terminal or a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from foundation.text import printable


class DefectKind(StrEnum):
    """One name for each way in which output can be wrong."""

    GARBAGE = "garbage"  # a line that is not a JSON object: a loader's warning, a shell's greeting
    INVALID_EVENT = "invalid_event"  # a JSON object that is not an event of the contract
    TOO_LONG = "too_long"
    TOO_MANY_LINES = "too_many_lines"
    TRUNCATED = "truncated"  # the last line stops in the middle
    OUT_OF_ORDER = "out_of_order"
    DUPLICATE = "duplicate"
    MISSING_STEP = "missing_step"
    TIME_REVERSED = "time_reversed"
    NO_HEADER = "no_header"
    NO_FOOTER = "no_footer"
    NO_END = "no_end"
    LINE_COUNT = "line_count"
    WRONG_SESSION = "wrong_session"
    UNKNOWN_SENSOR = "unknown_sensor"


#: With these, none of the runner's own output is lost or doubtful.
HARMLESS = frozenset({DefectKind.GARBAGE, DefectKind.UNKNOWN_SENSOR})


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong; `line` counts from 1, 0 for the output as a whole."""

    kind: DefectKind
    line: int
    detail: str

    @property
    def fatal(self) -> bool:
        """Whether the session's numbers can no longer be trusted."""
        return self.kind not in HARMLESS

    def __str__(self) -> str:
        where = f" in line {self.line}" if self.line else ""
        return f"{self.kind.value.replace('_', ' ')}{where}: {self.detail}"


MAX_LINE_CHARS = 1 << 20
MAX_TEXT_CHARS = 4096
MAX_LIST_ITEMS = 1 << 16
_MAX_INTEGER = 2**63 - 1
_NON_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def _named_number(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(partial(printable, limit=MAX_TEXT_CHARS))]
Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
T = TypeVar("T")
Rows = Annotated[tuple[T, ...], Field(strict=False, fail_fast=True)]
"""A list of JSON. The first wrong item ends it: an error for each takes more memory than the file."""
Loss = Annotated[float, BeforeValidator(_named_number)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HeaderEvent(_Line):
    """First line: the runner, its machine and its clock."""

    event: Literal["header"]
    schema_version: Literal[1] = Field(alias="schema")
    session: Text
    runner: Text
    clock: Literal["CLOCK_MONOTONIC"]
    t_ns: Count
    pid: Count
    machine: Text
    kernel: Text
    cpu: Text
    cpu_count: Count
    cpu_features: Annotated[Rows[Text], Field(max_length=4096)]
    threads: Count
    cpus_allowed: Annotated[Rows[Count], Field(max_length=4096)]
    executorch: Text


class LoadEvent(_Line):
    """The program is loaded: when, and the process's memory in KiB afterwards (None: not reported by the kernel)."""

    event: Literal["load"]
    t0_ns: Count
    t1_ns: Count
    rss_kib: Count | None
    hwm_kib: Count | None
    swap_kib: Count | None
    program_bytes: Count


class StepEvent(_Line):
    """One training step; `losses` is the program's float32[2, q], flattened (+ first), `length` the tokens of a row
    where the runner had programs for several.
    """

    event: Literal["step"]
    index: Count
    phase: Literal["warm_up", "measured"]
    t0_ns: Count
    t1_ns: Count
    losses: Annotated[Rows[Loss], Field(max_length=MAX_LIST_ITEMS)]
    length: Count | None = None

    @property
    def latency_ms(self) -> float:
        """Duration in milliseconds."""
        return (self.t1_ns - self.t0_ns) / 1e6


class PartsEvent(_Line):
    """The names of the parts of an instruction's calls, from here on: operators of a delegate, or work of a kernel."""

    event: Literal["parts"]
    instruction: Count
    names: Annotated[Rows[Text], Field(max_length=MAX_LIST_ITEMS)]


class CallEvent(_Line):
    """One instruction of a profiled step. Its parts are by the clock, or (`of_threads`) of all threads together."""

    event: Literal["call"]
    step: Count
    instruction: Count
    t0_ns: Count
    t1_ns: Count
    of_threads: bool
    parts_ns: Annotated[Rows[Count], Field(max_length=MAX_LIST_ITEMS)]


class PeakEvent(_Line):
    """What a device can do at best: `count` operations or bytes in each repetition, `made` as the results prove."""

    event: Literal["peak"]
    of: Text
    by: Text
    unit: Literal["operations", "bytes"]
    count: Count
    made: Count
    buffer_bytes: Count | None
    ns: Annotated[Rows[Annotated[int, Field(ge=1, le=_MAX_INTEGER)]], Field(min_length=1, max_length=1024)]


class SampleEvent(_Line):
    """One reading of one sensor, in the unit of the sensor's quantity."""

    event: Literal["sample"]
    t_ns: Count
    sensor: Text
    value: Annotated[float, Field(allow_inf_nan=False)]


class SensorErrorEvent(_Line):
    """A sensor that could not be read, how often, and why."""

    event: Literal["sensor_error"]
    sensor: Text
    errors: Count
    reason: Text


class FooterEvent(_Line):
    """How the process ended. A process that dies of a signal may know only the cause and the reason."""

    event: Literal["footer"]
    cause: Literal["completed", "error", "signal"]
    reason: Text | None = None
    error_code: Text | None = None
    stage: Literal["job", "load", "input", "execute", "state"] | None = None
    steps: Count | None = None
    hwm_kib: Count | None = None
    swap_kib: Count | None = None
    minor_faults: Count | None = None
    major_faults: Count | None = None
    sampler_cpu_ns: Count | None = None
    t_ns: Count | None = None


class EndEvent(_Line):
    """Last line: how many lines came before it."""

    event: Literal["end"]
    lines: Count


ProfileEvent = PartsEvent | CallEvent
_SamplerEvent = SampleEvent | SensorErrorEvent
Event = HeaderEvent | LoadEvent | StepEvent | ProfileEvent | PeakEvent | _SamplerEvent | FooterEvent | EndEvent

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_line(line: str, number: int) -> Event | Defect | None:
    """Parses one line as an event, or a defect; None for a blank line. `number` counts from 1.

    Safe to call on each line as it arrives, for progress.
    """
    if len(line) > MAX_LINE_CHARS:
        return Defect(DefectKind.TOO_LONG, number, f"{len(line)} characters, {MAX_LINE_CHARS} at most")
    text = line.strip()
    if not text:
        return None
    try:
        return _EVENT.validate_json(text.encode("utf-8", "replace"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid" or not text.startswith("{"):
            return Defect(DefectKind.GARBAGE, number, f"not a JSON object: {printable(text, 120)}")
        where = ".".join(str(part) for part in first["loc"])
        return Defect(DefectKind.INVALID_EVENT, number, printable(f"{where or 'event'}: {first['msg']}", 300))


MAX_LINES = 2_000_000
MAX_DEFECTS = 50


@dataclass(frozen=True)
class EventLog:
    """Events in order; at most `MAX_DEFECTS` harmless and as many fatal defects are kept, the counts include all."""

    events: tuple[Event, ...]
    defects: tuple[Defect, ...]
    defect_count: int
    fatal_count: int


@dataclass
class _Reader:
    """Follows the contract's order: header, load, steps, footer, end; samples anywhere between header and footer."""

    events: list[Event] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    defect_count: int = 0
    fatal_count: int = 0
    of_the_runner: int = 0  # lines the runner must have counted: valid events and broken ones
    header: HeaderEvent | None = None
    load: LoadEvent | None = None
    last_step: StepEvent | None = None
    footer: FooterEvent | None = None
    end: EndEvent | None = None
    last_sample_ns: dict[str, int] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)  # how many of an instruction have names

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
        elif isinstance(event, PartsEvent):
            self.parts[event.instruction] = len(event.names)
        elif isinstance(event, CallEvent):
            self._check_call(event, line)
        elif isinstance(event, LoadEvent) and event.t1_ns < event.t0_ns:
            self.note(DefectKind.TIME_REVERSED, line, "the load ends before it begins")
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
            self.note(DefectKind.TIME_REVERSED, line, f"step {step.index} ends at or before its begin")
        if self.last_step is not None:
            if step.t0_ns < self.last_step.t1_ns:
                self.note(DefectKind.TIME_REVERSED, line, f"step {step.index} begins before step {expected - 1} ended")
            if step.phase == "warm_up" and self.last_step.phase == "measured":
                self.note(DefectKind.OUT_OF_ORDER, line, f"warm-up step {step.index} after a measured step")

    def _check_sample(self, sample: SampleEvent, line: int) -> None:
        previous = self.last_sample_ns.get(sample.sensor)
        if previous is not None and sample.t_ns < previous:
            self.note(
                DefectKind.TIME_REVERSED, line, f"a sample of {sample.sensor} is {previous - sample.t_ns} ns back"
            )
        self.last_sample_ns[sample.sensor] = sample.t_ns

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
        # A bad line waits for its successor: only the last one can be truncated.
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
    """Reclassifies a broken last line that started as an object: it was cut off."""
    prefix = "not a JSON object: "
    if defect.kind is DefectKind.GARBAGE and defect.detail.startswith(prefix + "{"):
        return Defect(DefectKind.TRUNCATED, defect.line, defect.detail.removeprefix(prefix))
    return defect
