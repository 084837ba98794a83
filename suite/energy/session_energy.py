"""Energy and power of one session: whole measured steps that the samples cover, all energy sensors together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices.sensors.battery import BATTERY
from foundation.unavailable import Unavailable
from reports.model.quantities import CHARGERS, ENERGY_COUNTER, POWER
from suite.energy.window import WindowEnergy, counter_energy, gap, gauge_energy, net_energy_mj
from suite.sessions.events import StepEvent
from suite.sessions.record import IdlePower, SensorTrace, SessionRecord

#: The sensor name of an external meter.
METER = "meter"
#: Samples further apart than this many periods have a failed reading between them.
_UNREAD_PERIODS = 1.5


@dataclass(frozen=True)
class SessionEnergy:
    """Energy per measured step, mJ, and mean power, mW, over the `steps` steps of the window that was used."""

    gross_mj: float
    net_mj: float | Unavailable
    mean_power_mw: float
    idle_power_mw: float | Unavailable
    rate_hz: float
    refresh_ms: float | None
    alignment_error_ms: float
    short: bool
    steps: int
    window_s: float


def session_energy(
    record: SessionRecord,
    sensors: Sequence[str],
    wrap_range_mj: Mapping[str, float],
    idle: IdlePower | Unavailable,
) -> SessionEnergy | Unavailable:
    """E/step = E / N over the N measured steps that lie between the first and the last sample of each sensor.

    The values of several sensors (the domains of RAPL) are added; never name a total and its rails together. A sensor
    that failed for a part of the session (`window.gap`) makes the energy unavailable, with its error.
    """
    traces: list[SensorTrace] = []
    for name in sensors:
        trace = record.samples.get(name)
        if trace is None:
            return Unavailable(f"{name}: {record.sensor_errors.get(name, 'no samples in this session')}")
        failed = gap(record, name) or _reset_unseen(trace, record.sensor_errors.get(name))
        if failed is not None:
            return Unavailable(f"{name}: {failed}")
        traces.append(trace)
    charged = _charged(record, sensors)
    if charged is not None:
        return charged
    steps = _covered(record.measured_steps, traces)
    if isinstance(steps, Unavailable):
        return steps
    parts: list[WindowEnergy] = []
    for trace in traces:
        part = _window(trace, steps[0].t0_ns, steps[-1].t1_ns, wrap_range_mj)
        if isinstance(part, Unavailable):
            return Unavailable(f"{trace.sensor}: {part.reason}")
        parts.append(replace(part, alignment_error_ms=part.alignment_error_ms + trace.clock_error_ms))
    return _per_step(_together(parts), len(steps), idle)


def mean_power_mw(
    samples: Mapping[str, SensorTrace], sensors: Sequence[str], wrap_range_mj: Mapping[str, float]
) -> float | Unavailable:
    """Returns the combined mean power of the sensors over the time they were sampled, for idle power."""
    traces = [samples[name] for name in sensors if name in samples and samples[name].t_ns]
    if not traces or len(traces) != len(sensors):
        return Unavailable(f"{len(traces)} of {len(sensors)} power sensors gave samples")
    begin_ns = max(trace.t_ns[0] for trace in traces)
    end_ns = min(trace.t_ns[-1] for trace in traces)
    total_mw = 0.0
    for trace in traces:
        part = _window(trace, begin_ns, end_ns, wrap_range_mj)
        if isinstance(part, Unavailable):
            return Unavailable(f"{trace.sensor}: {part.reason}")
        total_mw += part.mean_power_mw
    return total_mw


def _charged(record: SessionRecord, sensors: Sequence[str]) -> Unavailable | None:
    """Returns why a battery's gauge does not count: a charger was plugged in meanwhile, or may have been."""
    if not any(name.startswith(BATTERY) for name in sensors):
        return None
    for trace in record.samples.values():
        if trace.quantity == CHARGERS and max(trace.values, default=0.0) > 0:
            return Unavailable(f"{trace.sensor}: a charger was plugged in during the session: unplug it")
        if trace.quantity == CHARGERS and (unseen := gap(record, trace.sensor)) is not None:
            return Unavailable(f"{trace.sensor}: whether a charger was plugged in is not known: {unseen}")
    return None


def _reset_unseen(trace: SensorTrace, error: str | None) -> str | None:
    """Returns why a counter that fell does not count: unread at that moment, it may have been reset."""
    if error is None or trace.quantity != ENERGY_COUNTER or len(trace.t_ns) < 2:
        return None
    spacing, change = np.diff(np.asarray(trace.t_ns, dtype=np.int64)), np.diff(np.asarray(trace.values))
    if not np.any((change < 0) & (spacing > _UNREAD_PERIODS * np.median(spacing))):
        return None
    return f"{error}; the counter fell meanwhile, and may have begun anew"


def _covered(steps: Sequence[StepEvent], traces: Sequence[SensorTrace]) -> Sequence[StepEvent] | Unavailable:
    """Returns the measured steps between the first and last sample of every trace: the sampler may stop early."""
    begin_ns = max(trace.t_ns[0] for trace in traces)
    end_ns = min(trace.t_ns[-1] for trace in traces)
    covered = [step for step in steps if step.t0_ns >= begin_ns and step.t1_ns <= end_ns]
    if not covered:
        return Unavailable(f"no measured step of {len(steps)} lies between the first and the last sample")
    return covered


def _window(
    trace: SensorTrace, begin_ns: int, end_ns: int, wrap_range_mj: Mapping[str, float]
) -> WindowEnergy | Unavailable:
    if trace.quantity == POWER:
        return gauge_energy(trace.t_ns, trace.values, begin_ns, end_ns)
    if trace.quantity == ENERGY_COUNTER:
        return counter_energy(trace.t_ns, trace.values, begin_ns, end_ns, wrap_range_mj.get(trace.sensor))
    return Unavailable(f"{trace.quantity} gives no energy")


def _together(parts: Sequence[WindowEnergy]) -> WindowEnergy:
    """Adds up energies; quality figures are those of the worst."""
    refreshes = [part.refresh_ms for part in parts if part.refresh_ms is not None]
    return WindowEnergy(
        energy_mj=sum(part.energy_mj for part in parts),
        duration_s=parts[0].duration_s,
        rate_hz=min(part.rate_hz for part in parts),
        refresh_ms=max(refreshes) if refreshes else None,
        alignment_error_ms=max(part.alignment_error_ms for part in parts),
        short=any(part.short for part in parts),
    )


def _per_step(window: WindowEnergy, steps: int, idle: IdlePower | Unavailable) -> SessionEnergy:
    net = idle if isinstance(idle, Unavailable) else net_energy_mj(window, idle.before_mw, idle.after_mw)
    return SessionEnergy(
        gross_mj=window.energy_mj / steps,
        net_mj=net if isinstance(net, Unavailable) else net / steps,
        mean_power_mw=window.mean_power_mw,
        idle_power_mw=idle if isinstance(idle, Unavailable) else idle.mean_mw,
        rate_hz=window.rate_hz,
        refresh_ms=window.refresh_ms,
        alignment_error_ms=window.alignment_error_ms,
        short=window.short,
        steps=steps,
        window_s=window.duration_s,
    )
