"""The lines a runner prints, as validated events; what is wrong with them becomes data, never an exception.

The text comes from a device and is not trusted: line length, number of lines, list lengths and strings are bounded, and
control characters are replaced before anything reaches a terminal or a page.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
)

from foundation.text import printable
from suite.defects import Defect, DefectKind

MAX_LINE_CHARS = 1 << 20
MAX_TEXT_CHARS = 4096
MAX_LIST_ITEMS = 1 << 16
_MAX_INTEGER = 2**63 - 1
_NON_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def _named_number(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(partial(printable, limit=MAX_TEXT_CHARS))]
Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
Loss = Annotated[float, BeforeValidator(_named_number)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HeaderEvent(_Line):
    """First line: who runs, on what, by which clock."""

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
    cpu_features: Annotated[tuple[Text, ...], Field(max_length=4096)]
    threads: Count
    cpus_allowed: Annotated[tuple[Count, ...], Field(max_length=4096)]
    executorch: Text


class LoadEvent(_Line):
    """The program is loaded: when, and the process's memory in KiB after it (None: the kernel does not tell)."""

    event: Literal["load"]
    t0_ns: Count
    t1_ns: Count
    rss_kib: Count | None
    hwm_kib: Count | None
    swap_kib: Count | None
    program_bytes: Count


class StepEvent(_Line):
    """One training step; `losses` is the program's float32[2, q], flattened (+ first)."""

    event: Literal["step"]
    index: Count
    phase: Literal["warm_up", "measured"]
    t0_ns: Count
    t1_ns: Count
    losses: Annotated[tuple[Loss, ...], Field(max_length=MAX_LIST_ITEMS)]

    @property
    def latency_ms(self) -> float:
        """Duration in milliseconds."""
        return (self.t1_ns - self.t0_ns) / 1e6


class SampleEvent(_Line):
    """One reading of one sensor, in the unit of the sensor's quantity."""

    event: Literal["sample"]
    t_ns: Count
    sensor: Text
    value: FiniteFloat


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


Event = HeaderEvent | LoadEvent | StepEvent | SampleEvent | SensorErrorEvent | FooterEvent | EndEvent

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_line(line: str, number: int) -> Event | Defect | None:
    """One line as an event, or what is wrong with it; None for a blank line. `number` counts from 1.

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
