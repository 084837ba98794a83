"""Decides which points of a history may be compared: new firmware, OS or hardware, or an acceptance, opens a segment.

A difference in speed proves nothing if the device was in another state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from suite import stats
from suite.regression.screen import HISTORY_POINTS

#: Larger differences count as another state: of the temperature at a session's start, of the battery's charge.
TEMPERATURE_C = 5.0
BATTERY_PERCENT = 20.0


@dataclass(frozen=True)
class DeviceState:
    """A device's state while it was measured. What could not be read is None."""

    temperature_c: float | None = None
    governor: str | None = None
    throttled: bool | None = None
    battery_percent: float | None = None
    charging: bool | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class StateDifference:
    """One respect in which two states differ. `then` and `now` are formatted."""

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} was {self.then} and is {self.now}"


def state_differences(then: DeviceState, now: DeviceState) -> tuple[StateDifference, ...]:
    """Returns the differences that are large enough to explain a change of speed.

    What was not read both times is not a difference; throttling always is.
    """
    found = [
        StateDifference(what, str(before), str(after))
        for what, before, after in (
            ("governor", then.governor, now.governor),
            ("firmware", then.firmware, now.firmware),
            ("charging", _yes_no(then.charging), _yes_no(now.charging)),
        )
        if before is not None and after is not None and before != after
    ]
    if then.throttled or now.throttled:
        found.append(StateDifference("throttling", _yes_no(then.throttled) or "?", _yes_no(now.throttled) or "?"))
    if _apart(then.temperature_c, now.temperature_c, TEMPERATURE_C):
        found.append(StateDifference("temperature", f"{then.temperature_c:.1f} degC", f"{now.temperature_c:.1f} degC"))
    if _apart(then.battery_percent, now.battery_percent, BATTERY_PERCENT):
        found.append(StateDifference("battery", f"{then.battery_percent:.0f} %", f"{now.battery_percent:.0f} %"))
    return tuple(found)


def list_differences(differences: Sequence[StateDifference]) -> str:
    """Formats the differences as part of a sentence."""
    return "; ".join(str(item) for item in differences)


def _apart(then: float | None, now: float | None, allowed: float) -> bool:
    return then is not None and now is not None and abs(then - now) > allowed


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"


#: A device has changed if it was blamed twice within this many nights.
NIGHTS_TOGETHER = 5

Reason = Literal["first point", "device changed", "accepted"]


@dataclass(frozen=True)
class Point:
    """One night of a series.

    `fingerprint` stands for the device's hardware, OS build, workload and way of measuring. `accepted`: from this point
    on, the level is the new normal. `excluded` points are not history for others: a night that was judged `regressed`,
    or one that a person took out. `device_level` is the median of the baseline's sessions in a night whose verdict
    blamed the device, and `drift_traced` is whether a drift was traced to the device (both are in that verdict's
    numbers). `aside` marks a point that was not measured like a night's and is only listed among them.
    """

    value: float
    fingerprint: str
    accepted: bool = False
    excluded: bool = False
    device_level: float | None = None
    drift_traced: bool = False
    aside: bool = False

    @property
    def counts(self) -> bool:
        """Whether the point is history for others."""
        return not (self.excluded or self.aside)


@dataclass(frozen=True)
class Segment:
    """Points with start <= index < stop, which may be compared with one another, and what opened the segment."""

    start: int
    stop: int
    reason: Reason


def segments(points: Sequence[Point]) -> tuple[Segment, ...]:
    """Returns the segments of a series (oldest point first) in order; empty without points.

    A fingerprint that returns later (a rollback) opens another segment, as what happened in between may not have been
    undone completely.
    """
    starts: list[tuple[int, Reason]] = []
    for index, point in enumerate(points):
        if index == 0:
            starts.append((0, "first point"))
        elif point.fingerprint != points[index - 1].fingerprint:
            starts.append((index, "device changed"))
        elif point.accepted:
            starts.append((index, "accepted"))
    stops = [*(start for start, _ in starts), len(points)][1:]
    return tuple(Segment(start, stop, reason) for (start, reason), stop in zip(starts, stops, strict=True))


def comparable(points: Sequence[Point]) -> tuple[float, ...]:
    """Returns the history against which the next point with the last point's fingerprint is screened, oldest first.

    It is the last segment without excluded points, scaled to the device's level if that has changed.
    """
    kept = _last_segment(points)
    values = [point.value for point in kept]
    for change in _device_changes(kept):
        before = [value for value, point in zip(values[: change.at], kept, strict=False) if point.counts]
        factor = scale_to(before, change.level) if before else 1.0
        values[: change.at] = [factor * value for value in values[: change.at]]
    return tuple(value for value, point in zip(values, kept, strict=True) if point.counts)


def since_device_change(points: Sequence[Point]) -> tuple[float, ...]:
    """Returns the history that is checked for drift.

    It is the last segment without excluded points, since the device last changed or a drift was traced to it, so that
    what has been explained is not found again.
    """
    kept = _last_segment(points)
    starts = [change.at for change in _device_changes(kept)]
    starts += [index for index, point in enumerate(kept) if point.drift_traced]
    return tuple(point.value for point in kept[max(starts, default=0) :] if point.counts)


def scale_to(history: Sequence[float], level: float) -> float:
    """Returns the factor that brings the median of the last 30 points of `history` to `level`.

    Raises ValueError for a level or median that is not positive.
    """
    centre = stats.median(history[-HISTORY_POINTS:])
    if centre <= 0 or level <= 0:
        raise ValueError(f"levels must be positive, not {centre:g} and {level:g}")
    return level / centre


def _last_segment(points: Sequence[Point]) -> Sequence[Point]:
    found = segments(points)
    return points[found[-1].start :] if found else ()


@dataclass(frozen=True)
class _DeviceChange:
    at: int
    level: float


def _device_changes(points: Sequence[Point]) -> list[_DeviceChange]:
    """Returns where the device was blamed twice within five nights: the first of the two, with their mean level."""
    found: list[_DeviceChange] = []
    pending: tuple[int, float] | None = None
    for index, point in enumerate(points):
        if point.device_level is None:
            continue
        if pending is not None and index - pending[0] < NIGHTS_TOGETHER:
            found.append(_DeviceChange(pending[0], math.sqrt(pending[1] * point.device_level)))
            pending = None
        else:
            pending = (index, point.device_level)
    return found
