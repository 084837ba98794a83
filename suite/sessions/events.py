"""Parses the lines that a runner prints into validated events. Defects become data, never an exception.

The text comes from a device and is not trusted: line length, number of lines, list lengths and strings are limited,
and control characters are replaced before anything reaches a terminal or a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from foundation.text import printable


class DefectKind(StrEnum):
    """The ways in which output can be wrong."""

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


#: With only these, none of the runner's own output is lost or doubtful.
HARMLESS = frozenset({DefectKind.GARBAGE, DefectKind.UNKNOWN_SENSOR})


@dataclass(frozen=True)
class Defect:
    """Something that is wrong. `line` counts from 1; 0 stands for the output as a whole."""

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
"""A list in JSON. Validation stops at the first wrong item, as an error for each takes more memory than the file."""
Loss = Annotated[float, BeforeValidator(_named_number)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HeaderEvent(_Line):
    """The first line: the runner, its machine and its clock.

    `kernels`: the variant of its hot loops that it uses, one of the `variants` that the processor can run, the widest
    first; runners of earlier suites don't name any.
    """

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
    kernels: Text | None = None
    variants: Annotated[Rows[Text], Field(max_length=64)] = ()


class LoadEvent(_Line):
    """When the program was loaded, and the process's memory in KiB afterwards (None: not reported by the kernel)."""

    event: Literal["load"]
    t0_ns: Count
    t1_ns: Count
    rss_kib: Count | None
    hwm_kib: Count | None
    swap_kib: Count | None
    program_bytes: Count


class StepEvent(_Line):
    """One training step. `losses` is the program's float32[2, q], flattened (+ first).

    `length` is the tokens of a row, if the runner had programs for several lengths. `allocations`: how often memory was
    requested from the C library during the step, and how many bytes, if the job asked for it and the runner can count.
    """

    event: Literal["step"]
    index: Count
    phase: Literal["warm_up", "measured"]
    t0_ns: Count
    t1_ns: Count
    losses: Annotated[Rows[Loss], Field(max_length=MAX_LIST_ITEMS)]
    length: Count | None = None
    allocations: Count | None = None
    allocated_bytes: Count | None = None

    @property
    def latency_ms(self) -> float:
        """The step's duration in milliseconds."""
        return (self.t1_ns - self.t0_ns) / 1e6


class PartsEvent(_Line):
    """The names of the parts of an instruction's calls, from here on: operators of a delegate, or work of a kernel."""

    event: Literal["parts"]
    instruction: Count
    names: Annotated[Rows[Text], Field(max_length=MAX_LIST_ITEMS)]


class CallEvent(_Line):
    """One instruction of a profiled step. Times of its parts are wall time, or (`of_threads`) summed over threads."""

    event: Literal["call"]
    step: Count
    instruction: Count
    t0_ns: Count
    t1_ns: Count
    of_threads: bool
    parts_ns: Annotated[Rows[Count], Field(max_length=MAX_LIST_ITEMS)]


class PeakEvent(_Line):
    """A peak of the device: `count` operations or bytes in each repetition, of which the results prove `made`."""

    event: Literal["peak"]
    of: Text
    by: Text
    unit: Literal["operations", "bytes"]
    count: Count
    made: Count
    buffer_bytes: Count | None
    ns: Annotated[Rows[Annotated[int, Field(ge=1, le=_MAX_INTEGER)]], Field(min_length=1, max_length=1024)]


class ProductEvent(_Line):
    """What products with weights of one form took in one variant of the runner's kernels, ns of processor time."""

    event: Literal["product"]
    weights: Text
    kernels: Text
    ns: Annotated[Rows[Annotated[int, Field(ge=1, le=_MAX_INTEGER)]], Field(min_length=1, max_length=1024)]


class MemoryEvent(_Line):
    """The process's memory after a step, in KiB; `unavailable` has the reason for a value that is None.

    `anonymous`: resident pages that belong to no file. `heap_used`: requested and not freed; `heap_held`: what the
    allocator holds for it. `unavailable` may also have the reason why `allocations` are not counted.
    """

    event: Literal["memory"]
    step: Count
    t_ns: Count
    rss_kib: Count | None
    pss_kib: Count | None
    anonymous_kib: Count | None
    swap_kib: Count | None
    heap_used_kib: Count | None
    heap_held_kib: Count | None
    unavailable: Annotated[dict[Text, Text], Field(max_length=16)]


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
    """How the process ended. A process that a signal ends may know only the cause and the reason."""

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
    """The last line: how many lines came before it."""

    event: Literal["end"]
    lines: Count


ProfileEvent = PartsEvent | CallEvent
Event = (
    HeaderEvent
    | LoadEvent
    | StepEvent
    | ProfileEvent
    | PeakEvent
    | ProductEvent
    | MemoryEvent
    | SampleEvent
    | SensorErrorEvent
    | FooterEvent
    | EndEvent
)

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_line(line: str, number: int) -> Event | Defect | None:
    """Parses a line. Returns an event or a defect, or None for a blank line. `number` counts from 1.

    May also be called on each line as it arrives, for progress.
    """
    if len(line) > MAX_LINE_CHARS:
        return Defect(DefectKind.TOO_LONG, number, f"{len(line)} characters, at most {MAX_LINE_CHARS} are allowed")
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
