"""Compares sensor readings early and late in a long session, and finds whether they explain slower steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from foundation.unavailable import Unavailable
from reports.model.quantities import ENERGY_COUNTER, FREQUENCY_CAP, POWER, TEMPERATURE
from suite.endurance.pace import Pace
from suite.endurance.session import LongSession
from suite.energy.session_energy import mean_power_mw
from suite.sessions.record import SensorTrace

FREQUENCY = "frequency_khz"
TOTAL_POWER = "power of the device"
_FELL = 0.98
"""A clock counts as lowered if its mean fell below this share of the earlier one."""
_NO_KNEE_SHARE = 0.2

Window = tuple[int, int]
"""Start and end, nanoseconds of the device's clock."""


@dataclass(frozen=True)
class Change:
    """A sensor's mean early and late, in the unit of its quantity."""

    sensor: str
    quantity: str
    early: float
    late: float


def windows(session: LongSession, pace: Pace) -> tuple[Window, Window]:
    """Returns the time before the knee and the time after steps have settled; without a knee, first and last fifth."""
    begin_ns, end_ns = session.record.measured_window_ns or (0, 0)
    fifth = int(_NO_KNEE_SHARE * (end_ns - begin_ns))
    if pace.slowdown is None:
        return (begin_ns, begin_ns + fifth), (end_ns - fifth, end_ns)
    knee_ns, settled_ns = (begin_ns + int(1e9 * at) for at in (pace.slowdown.knee_s, pace.slowdown.settled_s))
    return (begin_ns, knee_ns), (settled_ns, end_ns)


def changes(session: LongSession, early: Window, late: Window) -> list[Change]:
    """Returns the changes of clocks, caps, zones and the device's power. What was not read both times is left out."""
    found = []
    for name, trace in sorted(session.record.samples.items()):
        if trace.quantity in (FREQUENCY, FREQUENCY_CAP, TEMPERATURE):
            means = [_mean(trace, window) for window in (early, late)]
            if means[0] is not None and means[1] is not None:
                found.append(Change(name, trace.quantity, means[0], means[1]))
    powers = [power_mw(session, window) for window in (early, late)]
    if not any(isinstance(power, Unavailable) for power in powers):
        found.append(Change(TOTAL_POWER, POWER, *(float(power) for power in powers)))  # type: ignore[arg-type]
    return found


def power_mw(session: LongSession, window: Window) -> float | Unavailable:
    """Returns the device's mean power in a window."""
    if not session.energy_sensors:
        reasons = [session.unavailable[name] for name in ("power", "energy") if name in session.unavailable]
        return Unavailable(next(iter(reasons), "no sensor measures the whole device"))
    traces = {name: _within(trace, window) for name, trace in session.record.samples.items()}
    return mean_power_mw(traces, session.energy_sensors, session.wrap_range_mj)


def why_slower(session: LongSession, found: Sequence[Change]) -> str | None:
    """Returns the evidence of throttling: the device's own, or else a clock that fell; None without any."""
    if session.throttled is not None:
        return session.throttled
    for change in found:
        if change.quantity in (FREQUENCY, FREQUENCY_CAP) and change.late < _FELL * change.early:
            return f"{change.sensor} fell from {change.early / 1e3:.0f} to {change.late / 1e3:.0f} MHz"
    return None


def _within(trace: SensorTrace, window: Window) -> SensorTrace:
    kept = [place for place, t_ns in enumerate(trace.t_ns) if window[0] <= t_ns <= window[1]]
    return replace(
        trace, t_ns=tuple(trace.t_ns[place] for place in kept), values=tuple(trace.values[place] for place in kept)
    )


def _mean(trace: SensorTrace, window: Window) -> float | None:
    values = _within(trace, window).values
    return float(np.mean(values)) if values else None


def course(session: LongSession, quantity: str, seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Returns a quantity over the session as (seconds, mean of its sensors) between neighbours of `seconds`.

    Power is the whole device's; spans without readings are left out.
    """
    begin_ns = (session.record.measured_window_ns or (0, 0))[0]
    points = []
    for first, last in pairwise(seconds):
        window = (begin_ns + int(1e9 * first), begin_ns + int(1e9 * last))
        if quantity in (POWER, ENERGY_COUNTER):
            power = power_mw(session, window)
            values = [] if isinstance(power, Unavailable) else [power]
        else:
            traces = [trace for trace in session.record.samples.values() if trace.quantity == quantity]
            values = [mean for trace in traces if (mean := _mean(trace, window)) is not None]
        if values:
            points.append(((first + last) / 2, float(np.mean(values))))
    return points
