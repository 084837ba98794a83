"""Computes the energy and power of a session, over the whole measured steps that samples of all energy sensors cover.

The energy of a time window comes from power gauges or energy counters, together with figures of its quality. A sensor
that failed during a session does not represent all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from devices.sensors.battery import BATTERY
from foundation.unavailable import Unavailable
from reports.model.quantities import CHARGERS, ENERGY_COUNTER, POWER
from suite.sessions.events import StepEvent
from suite.sessions.record import IdlePower, SensorTrace, SessionRecord

MIN_WINDOW_S = 10.0
MIN_PERIODS = 100
#: Samples that are missing for more than this many periods and for more than this share of the window are a gap.
_GAP_PERIODS = 5.0
_GAP_SHARE = 0.02

_Floats = npt.NDArray[np.float64]
#: The sensor name of an external meter.
METER = "meter"
#: Samples further apart than this many periods have a failed reading in between.
_UNREAD_PERIODS = 1.5


@dataclass(frozen=True)
class WindowEnergy:
    """The energy of a window. `short`: less than 10 s or 100 sensor periods, so not very accurate."""

    energy_mj: float
    duration_s: float
    rate_hz: float
    refresh_ms: float | None
    alignment_error_ms: float
    short: bool

    @property
    def mean_power_mw(self) -> float:
        """E / T."""
        return self.energy_mj / self.duration_s


def gauge_energy(
    t_ns: Sequence[int], power_mw: Sequence[float], begin_ns: int, end_ns: int
) -> WindowEnergy | Unavailable:
    """Returns the energy of [begin_ns, end_ns] from power samples in mW, or why there is none."""
    trouble = coverage_trouble(t_ns, begin_ns, end_ns)
    if trouble is not None:
        return trouble
    t_s, begin_s, end_s = _seconds(t_ns, begin_ns, end_ns)
    energy_mj = _trapezoid(t_s, np.asarray(power_mw, dtype=np.float64), begin_s, end_s)
    return _describe(t_ns, power_mw, begin_ns, end_ns, energy_mj)


def counter_energy(
    t_ns: Sequence[int], energy_mj_so_far: Sequence[float], begin_ns: int, end_ns: int, wrap_range_mj: float | None
) -> WindowEnergy | Unavailable:
    """Returns the energy of [begin_ns, end_ns] from a growing counter in mJ that wraps at `wrap_range_mj`, or why not.

    The range is `max_energy_range_uj` / 1000 for RAPL, or None if the counter does not wrap. Each fall of the counter
    adds one range; more than one wrap between two samples can't be detected. The unwrapped counter is interpolated
    linearly at both edges: E = C(end) - C(begin).
    """
    trouble = coverage_trouble(t_ns, begin_ns, end_ns)
    if trouble is not None:
        return trouble
    counter = np.asarray(energy_mj_so_far, dtype=np.float64)
    falls = np.diff(counter) < 0
    if falls.any():
        if wrap_range_mj is None:
            return Unavailable(f"the counter fell {int(falls.sum())} times and its range is unknown")
        if counter.max() > wrap_range_mj:
            return Unavailable(
                f"the counter reads {counter.max():.0f} mJ, more than its range of {wrap_range_mj:.0f} mJ"
            )
        counter = counter + wrap_range_mj * np.concatenate(([0.0], np.cumsum(falls)))
    t_s, begin_s, end_s = _seconds(t_ns, begin_ns, end_ns)
    at_begin, at_end = np.interp([begin_s, end_s], t_s, counter)
    return _describe(t_ns, energy_mj_so_far, begin_ns, end_ns, float(at_end - at_begin))


def coverage_trouble(t_ns: Sequence[int], begin_ns: int, end_ns: int) -> Unavailable | None:
    """Returns why samples at `t_ns` cannot represent the window, or None if they bracket both edges without a gap."""
    if end_ns <= begin_ns:
        return Unavailable(f"the window is empty ({end_ns - begin_ns} ns)")
    if len(t_ns) < 2:
        return Unavailable(f"{len(t_ns)} samples, but at least 2 are needed")
    times = np.asarray(t_ns, dtype=np.int64)
    spacing = np.diff(times)
    if (spacing < 0).any():
        return Unavailable("the samples' times run backwards")
    if times[0] > begin_ns:
        return Unavailable(f"the first sample comes {(times[0] - begin_ns) / 1e6:.0f} ms after the window's start")
    if times[-1] < end_ns:
        return Unavailable(f"the last sample comes {(end_ns - times[-1]) / 1e6:.0f} ms before the window's end")
    touching = (times[1:] > begin_ns) & (times[:-1] < end_ns)
    longest = int(spacing[touching].max())
    period = float(np.median(spacing))
    if longest > _GAP_PERIODS * period and longest > _GAP_SHARE * (end_ns - begin_ns):
        return Unavailable(
            f"samples are missing for {longest / 1e6:.0f} ms (usually there is one every {period / 1e6:.0f} ms)"
        )
    return None


def refresh_period_ns(t_ns: Sequence[int], values: Sequence[float]) -> float | Unavailable:
    """Returns the period at which the sensor refreshes its value: the median spacing between changes of the reading.

    A sensor that is read faster than it refreshes repeats its value. At least three changes are needed.
    """
    readings = np.asarray(values, dtype=np.float64)
    changes = np.flatnonzero(np.diff(readings) != 0) + 1
    if changes.size < 3:
        return Unavailable(
            f"the value changed {changes.size} times in {readings.size} samples, but at least 3 changes are needed"
        )
    return float(np.median(np.diff(np.asarray(t_ns, dtype=np.int64)[changes])))


def alignment_error_ns(t_ns: Sequence[int], begin_ns: int, end_ns: int) -> float:
    """Returns the largest deviation of a sample's spacing from the median, among samples that bracket the window.

    Steps and samples share one clock, so sampling jitter is the only error.
    """
    times = np.asarray(t_ns, dtype=np.int64)
    first = max(int(np.searchsorted(times, begin_ns, side="right")) - 1, 0)
    last = min(int(np.searchsorted(times, end_ns, side="left")), len(times) - 1)
    spacing = np.diff(times[first : last + 1])
    return float(np.abs(spacing - np.median(spacing)).max()) if spacing.size else 0.0


def net_energy_mj(gross: WindowEnergy, idle_before_mw: float, idle_after_mw: float) -> float | Unavailable:
    """Returns E_net = integral(P) - P_idle * T, with P_idle the mean before and after (a linear drift cancels)."""
    idle_mw = (idle_before_mw + idle_after_mw) / 2
    net_mj = gross.energy_mj - idle_mw * gross.duration_s
    if net_mj < 0:
        return Unavailable(
            f"idle power ({idle_mw:.0f} mW) is above the power while training ({gross.mean_power_mw:.0f} mW): "
            "the device was not idle"
        )
    return net_mj


def _describe(
    t_ns: Sequence[int], values: Sequence[float], begin_ns: int, end_ns: int, energy_mj: float
) -> WindowEnergy:
    duration_s = (end_ns - begin_ns) / 1e9
    period_ns = float(np.median(np.diff(np.asarray(t_ns, dtype=np.int64))))
    refresh = refresh_period_ns(t_ns, values)
    refresh_ns = None if isinstance(refresh, Unavailable) else refresh
    slowest_s = max(period_ns, refresh_ns or 0.0) / 1e9
    return WindowEnergy(
        energy_mj=energy_mj,
        duration_s=duration_s,
        rate_hz=1e9 / period_ns if period_ns else 0.0,
        refresh_ms=None if refresh_ns is None else refresh_ns / 1e6,
        alignment_error_ms=alignment_error_ns(t_ns, begin_ns, end_ns) / 1e6,
        short=duration_s < MIN_WINDOW_S or duration_s < MIN_PERIODS * slowest_s,
    )


def _seconds(t_ns: Sequence[int], begin_ns: int, end_ns: int) -> tuple[_Floats, float, float]:
    """Returns times in seconds from the window's start, subtracted as integers so that long uptimes stay precise."""
    times = (np.asarray(t_ns, dtype=np.int64) - begin_ns).astype(np.float64) / 1e9
    return times, 0.0, (end_ns - begin_ns) / 1e9


def _trapezoid(t_s: _Floats, values: _Floats, begin_s: float, end_s: float) -> float:
    inside = (t_s > begin_s) & (t_s < end_s)
    at_begin, at_end = np.interp([begin_s, end_s], t_s, values)
    knots = np.concatenate(([begin_s], t_s[inside], [end_s]))
    heights = np.concatenate(([at_begin], values[inside], [at_end]))
    # A device may report absurd values; the statistics make an infinite energy unavailable.
    with np.errstate(over="ignore"):
        return float(np.sum(np.diff(knots) * (heights[:-1] + heights[1:]) / 2))


def gap(record: SessionRecord, sensor: str) -> str | None:
    """Returns why a sensor's samples cannot represent the measured steps: its error, and how long it was silent.

    Returns None for a sensor without errors, or whose gaps are no longer than `coverage_trouble` tolerates:
    `_GAP_PERIODS` of its periods, or `_GAP_SHARE` of the time. Edges count too, as readings may be missing from the
    first step on, or up to the last.
    """
    error, window = record.sensor_errors.get(sensor), record.measured_window_ns
    if error is None or window is None:
        return error
    trace = record.samples.get(sensor)
    if trace is None or len(trace.t_ns) < 2:
        return error
    begin_ns, end_ns = window
    times = np.asarray(trace.t_ns, dtype=np.int64)
    period_ns = float(np.median(np.diff(times)))
    inside = times[(times > begin_ns) & (times < end_ns)]
    before = times[times <= begin_ns][-1:] if times[0] <= begin_ns else np.array([begin_ns])
    after = times[times >= end_ns][:1] if times[-1] >= end_ns else np.array([end_ns])
    longest_ns = int(np.diff(np.concatenate((before, inside, after))).max())
    if longest_ns <= max(_GAP_PERIODS * period_ns, _GAP_SHARE * (end_ns - begin_ns)):
        return None
    return f"{error}; it gave no reading for {longest_ns / 1e9:.1f} s of the {(end_ns - begin_ns) / 1e9:.1f} s"


@dataclass(frozen=True)
class SessionEnergy:
    """The energy per measured step in mJ, and the mean power in mW, over the `steps` steps of the window."""

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
    """Returns E / N over the N measured steps that lie between the first and the last sample of each sensor.

    The values of several sensors (such as RAPL's domains) are added, so never name a total together with its rails. A
    sensor that failed for part of the session (`gap`) makes the energy unavailable, with its error.
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
    charged = _find_charger(record, sensors)
    if charged is not None:
        return charged
    steps = _covered_steps(record.measured_steps, traces)
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
    """Returns the total mean power of the sensors over the time that they were sampled, for idle power."""
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


def _find_charger(record: SessionRecord, sensors: Sequence[str]) -> Unavailable | None:
    """Returns why a battery's gauge does not count: a charger was, or may have been, plugged in meanwhile."""
    if not any(name.startswith(BATTERY) for name in sensors):
        return None
    for trace in record.samples.values():
        if trace.quantity == CHARGERS and max(trace.values, default=0.0) > 0:
            return Unavailable(f"{trace.sensor}: a charger was plugged in during the session: unplug it")
        if trace.quantity == CHARGERS and (unseen := gap(record, trace.sensor)) is not None:
            return Unavailable(f"{trace.sensor}: whether a charger was plugged in is unknown: {unseen}")
    return None


def _reset_unseen(trace: SensorTrace, error: str | None) -> str | None:
    """Returns why a counter that fell does not count: it was not read at that moment, so it may have been reset."""
    if error is None or trace.quantity != ENERGY_COUNTER or len(trace.t_ns) < 2:
        return None
    spacing, change = np.diff(np.asarray(trace.t_ns, dtype=np.int64)), np.diff(np.asarray(trace.values))
    if not np.any((change < 0) & (spacing > _UNREAD_PERIODS * np.median(spacing))):
        return None
    return f"{error}; the counter fell meanwhile and may have been reset"


def _covered_steps(steps: Sequence[StepEvent], traces: Sequence[SensorTrace]) -> Sequence[StepEvent] | Unavailable:
    """Returns the measured steps between the first and last sample of every trace, as the sampler may stop early."""
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
    return Unavailable(f"energy can't be computed from {trace.quantity}")


def _together(parts: Sequence[WindowEnergy]) -> WindowEnergy:
    """Adds up energies. Quality figures are those of the worst."""
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
