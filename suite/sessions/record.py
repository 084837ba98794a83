"""Defines the record of a session whose process has ended: its events, sensor samples and idle power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from suite.sessions.events import (
    Defect,
    FooterEvent,
    HeaderEvent,
    LoadEvent,
    MemoryEvent,
    PeakEvent,
    ProductEvent,
    ProfileEvent,
    StepEvent,
)


@dataclass(frozen=True)
class SensorTrace:
    """Times in nanoseconds of the device's CLOCK_MONOTONIC, and the value read at each, in the quantity's unit.

    `clock_error_ms`: how far the times can be off that clock; 0 for what the runner itself sampled.
    """

    sensor: str
    quantity: str
    t_ns: tuple[int, ...]
    values: tuple[float, ...]
    clock_error_ms: float = 0.0

    def __post_init__(self) -> None:
        if len(self.t_ns) != len(self.values):
            raise ValueError(f"{self.sensor}: {len(self.t_ns)} times for {len(self.values)} values")


class Cause(StrEnum):
    """How a session ended."""

    COMPLETED = "completed"
    CRASHED = "crashed"  # ended by its own error: SEGV, BUS, ABRT, ILL, FPE
    KILLED = "killed"  # ended by another's signal, including the kernel's out-of-memory killer
    INTERRUPTED = "interrupted"  # asked to stop: by SIGTERM or SIGINT, or by the suite itself
    LOAD_ERROR = "load_error"
    UNSUPPORTED = "unsupported"  # this device cannot execute that setting
    ERROR = "error"  # job, input, execution or state
    INCOMPLETE = "incomplete"  # apparently finished, but the output does not prove it
    LOST = "lost"  # the device went away


@dataclass(frozen=True)
class SessionRecord:
    """The record of one session. `steps` are warm-up and measured steps; `sentence` describes how it ended.

    These are empty unless the job asked for them: `profile`, the calls of every second step and their names, in the
    order in which they came; `peaks` and `products`, those of the device itself; `memory`, the process's memory after
    some steps.
    """

    session_id: str
    header: HeaderEvent | None
    load: LoadEvent | None
    steps: tuple[StepEvent, ...]
    samples: Mapping[str, SensorTrace]
    sensor_errors: Mapping[str, str]
    footer: FooterEvent | None
    defects: tuple[Defect, ...]
    cause: Cause
    sentence: str
    profile: tuple[ProfileEvent, ...] = ()
    peaks: tuple[PeakEvent, ...] = ()
    products: tuple[ProductEvent, ...] = ()
    memory: tuple[MemoryEvent, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it has exit code zero, a footer with `completed`, a correct end marker, and no fatal defect."""
        return self.cause is Cause.COMPLETED

    @property
    def measured_steps(self) -> tuple[StepEvent, ...]:
        """The steps after the warm-up."""
        return tuple(step for step in self.steps if step.phase == "measured")

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """The duration of each measured step in milliseconds."""
        return tuple(step.latency_ms for step in self.measured_steps)

    @property
    def measured_window_ns(self) -> tuple[int, int] | None:
        """The start of the first and the end of the last measured step, or None without any."""
        steps = self.measured_steps
        return (steps[0].t0_ns, steps[-1].t1_ns) if steps else None

    @property
    def load_ms(self) -> float | None:
        """The time to load the program in milliseconds."""
        return None if self.load is None else (self.load.t1_ns - self.load.t0_ns) / 1e6

    @property
    def memory_after_load_kib(self) -> int | None:
        """The runner's VmRSS + VmSwap after the program was loaded."""
        if self.load is None or self.load.rss_kib is None:
            return None
        return self.load.rss_kib + (self.load.swap_kib or 0)

    @property
    def peak_memory_kib(self) -> int | None:
        """The runner's VmHWM + VmSwap at its end (swapped pages count, also in zram)."""
        if self.footer is None or self.footer.hwm_kib is None:
            return None
        return self.footer.hwm_kib + (self.footer.swap_kib or 0)


@dataclass(frozen=True)
class IdlePower:
    """The total mean power of the energy sensors while nothing runs, before and after the session, in mW."""

    before_mw: float
    after_mw: float

    @property
    def mean_mw(self) -> float:
        """The mean of both."""
        return (self.before_mw + self.after_mw) / 2


@dataclass(frozen=True)
class SensorFact:
    """A sensor of the device: how it was read (`method`), or why it was not (`unavailable`)."""

    name: str
    quantity: str
    method: str | None = None
    unavailable: str | None = None
