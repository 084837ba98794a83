"""Judges whether the memory of a training grows with its steps: a leak, fragmentation, or neither.

Readings of memory are not independent: an allocator grows in jumps, then rests, and keeps what it has. The usual
interval of a straight line, and that of Newey and West, then covers a slope of zero in only 20 to 40 % of sessions in
which nothing grows (a random walk of 100 readings, simulated; tests/suite/endurance/test_memory.py). So growth is
computed from tenths of a session: the gain of a quantity in each of ten equal parts, and Student's t on these ten
gains. They are independent for a random walk and for rare jumps, where the interval covers 94 to 98 %. For noise around
a level they cancel each other, and the interval is wider than necessary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from foundation.text import format_rounded
from foundation.unavailable import Json, Unavailable, as_document
from reports.model.reading import Interval
from suite.sessions.events import MemoryEvent, StepEvent
from suite.stats import student_bounds

PARTS = 10
_EDGE = 0.2
"""The level at each end of a part is the mean over this share of the part, which reduces noise."""
_LEAST_READINGS = 2 * PARTS
_SETTLING = 0.1
"""This share of the measured steps is left out at the start: a thread may need its buffer only at its first work."""
_TOLERATED, _TOLERATED_KIB = 0.01, 256.0
"""Growth over a session below this share of resident memory, or this much, only counts if the heap certainly grew."""


@dataclass(frozen=True)
class Growth:
    """The gain of a quantity over `steps` steps in KiB, with its 95 % interval; `level_kib` is the initial level."""

    gained_kib: float
    interval: Interval
    level_kib: float
    steps: int

    @property
    def kib_per_step(self) -> float:
        """The mean gain per step."""
        return self.gained_kib / self.steps

    def document(self) -> dict[str, Json]:
        """Returns its form in documents."""
        return {
            "gained_kib": self.gained_kib,
            "ci95_kib": self.interval.document(),
            "level_kib": self.level_kib,
            "steps": self.steps,
        }


def growth_over(steps: Sequence[int], kib: Sequence[float]) -> Growth | Unavailable:
    """Returns the growth of readings `kib` after `steps`, both [n] and in order.

    With d the ten differences between the levels at the ends of ten equal parts: sum(d) -+ t(0.975, 9) s(d) sqrt(10),
    where s is the standard deviation of the differences (n - 1 in the denominator).
    """
    if len(kib) < _LEAST_READINGS:
        return Unavailable(
            f"{len(kib)} readings of memory, but a slope needs at least {_LEAST_READINGS}: take more steps"
        )
    values = np.asarray(kib, dtype=np.float64)
    width = max(1, int(_EDGE * len(values) / (PARTS + 1)))
    starts = np.round(np.linspace(0, len(values) - width, PARTS + 1)).astype(int)
    levels = np.array([values[start : start + width].mean() for start in starts])
    watched = steps[int(starts[-1])] - steps[0]
    if watched <= 0:
        return Unavailable("the readings of memory are not in the order of their steps")
    low, high = (float(PARTS * bound) for bound in student_bounds(np.diff(levels)))
    return Growth(float(levels[-1] - levels[0]), Interval(low, high), float(levels[0]), watched)


class MemoryVerdict(StrEnum):
    """The verdict on the memory of a long session."""

    LEAK = "leak"  # requested memory that is never freed grows
    FRAGMENTATION = "fragmentation"  # the process holds more and more memory for a heap that does not grow
    NONE = "none"
    UNKNOWN = "can't be told"


@dataclass(frozen=True)
class Allocations:
    """How often steps requested memory: `asking` of `steps` steps did; the rest are times and bytes per step."""

    steps: int
    asking: int
    median: float
    most: int
    most_bytes: int

    def document(self) -> dict[str, Json]:
        """Returns its form in documents."""
        return asdict(self)


@dataclass(frozen=True)
class MemoryFinding:
    """The verdict on a session with its reason, and the figures behind it by quantity."""

    verdict: MemoryVerdict
    reason: str
    growth: dict[str, Growth | Unavailable]
    allocations: Allocations | Unavailable

    def document(self) -> dict[str, Json]:
        """Returns its form in documents."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "growth": {name: as_document(found) for name, found in self.growth.items()},
            "allocations": as_document(self.allocations),
        }


QUANTITIES = {
    "resident": ("rss_kib", "swap_kib"),
    "proportional": ("pss_kib",),
    "anonymous": ("anonymous_kib", "swap_kib"),
    "heap in use": ("heap_used_kib",),
    "heap held": ("heap_held_kib",),
    "swap": ("swap_kib",),
}
"""Quantities that are followed over steps, as sums of a reading's values. Swapped pages belong to the process too."""


def judge_memory(steps: Sequence[StepEvent], readings: Sequence[MemoryEvent]) -> MemoryFinding:
    """Judges the memory of a session from its steps and readings. The warm-up and a tenth after it don't count."""
    measured = [step for step in steps if step.phase == "measured"]
    measured = measured[int(_SETTLING * len(measured)) :]
    first = measured[0].index if measured else len(steps)
    counted = [reading for reading in readings if reading.step >= first]
    growth = {name: _growth_of(counted, members) for name, members in QUANTITIES.items()}
    verdict, reason = _decide(growth)
    return MemoryFinding(verdict, reason, growth, _allocations(measured, readings))


def read_kib(reading: MemoryEvent, members: Sequence[str]) -> int | Unavailable:
    """Returns the sum of `members` of a reading in KiB, or why the first of them is missing."""
    first, *others = (getattr(reading, member) for member in members)
    if first is None:
        return Unavailable(reading.unavailable.get(members[0], "not reported by the runner"))
    return int(first + sum(other or 0 for other in others))


def _growth_of(readings: Sequence[MemoryEvent], members: Sequence[str]) -> Growth | Unavailable:
    values = [read_kib(reading, members) for reading in readings]
    missing = next((value for value in values if isinstance(value, Unavailable)), None)
    if missing is not None:
        return missing
    return growth_over([reading.step for reading in readings], [float(value) for value in values])  # type: ignore[arg-type]


def _decide(growth: dict[str, Growth | Unavailable]) -> tuple[MemoryVerdict, str]:
    heap, resident, anonymous = growth["heap in use"], growth["resident"], growth["anonymous"]
    if isinstance(heap, Growth) and heap.interval.low > 0:
        return MemoryVerdict.LEAK, f"the heap in use grew by {_amount(heap)}"
    if isinstance(resident, Unavailable):
        return MemoryVerdict.UNKNOWN, resident.reason
    own = resident if isinstance(anonymous, Unavailable) else anonymous
    tolerated = max(_TOLERATED * resident.level_kib, _TOLERATED_KIB)
    if own.interval.low > 0 and own.gained_kib > tolerated:
        if isinstance(heap, Unavailable):
            return MemoryVerdict.UNKNOWN, f"its own memory grew by {_amount(own)}, of the heap: {heap.reason}"
        if heap.interval.high <= tolerated:
            return MemoryVerdict.FRAGMENTATION, f"its own memory grew by {_amount(own)}, the heap in use did not"
    if resident.interval.high > tolerated:
        return MemoryVerdict.UNKNOWN, (
            f"resident memory may have grown by up to {format_rounded(resident.interval.high)} KiB, "
            f"{100 * resident.interval.high / resident.level_kib:.1f} % of it: take more steps"
        )
    if isinstance(heap, Growth) and heap.interval.high > tolerated:
        return MemoryVerdict.UNKNOWN, (
            f"the heap in use may have grown by up to {format_rounded(heap.interval.high)} KiB: take more steps"
        )
    return MemoryVerdict.NONE, f"resident memory changed by {_amount(resident)}"


def _amount(growth: Growth) -> str:
    low, high = growth.interval.low, growth.interval.high
    return (
        f"{format_rounded(growth.gained_kib)} KiB (95 %: {format_rounded(low)} to {format_rounded(high)}) in "
        f"{growth.steps:,} steps"
    )


def _allocations(measured: Sequence[StepEvent], readings: Sequence[MemoryEvent]) -> Allocations | Unavailable:
    counts = [step.allocations for step in measured if step.allocations is not None]
    if not counts or len(counts) < len(measured):
        reasons = [reading.unavailable.get("allocations") for reading in readings]
        return Unavailable(next((reason for reason in reasons if reason), "not reported by the runner"))
    most_bytes = max(step.allocated_bytes or 0 for step in measured)
    return Allocations(
        len(counts), sum(count > 0 for count in counts), float(np.median(counts)), max(counts), most_bytes
    )
