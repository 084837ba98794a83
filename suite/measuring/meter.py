"""Adds the readings of an external power meter to a session, as one more trace, on the device's clock.

The offset between the clocks of host and device comes from the shortest of several round trips.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from devices.access.connect import Device
from devices.errors import DeviceError
from devices.sensors.spec import Sensor
from foundation.unavailable import Unavailable
from reports.model.quantities import POWER
from suite.energy.meter_program import MeterProgram, MeterSample, wait_for_samples
from suite.energy.session_energy import METER, mean_power_mw
from suite.measuring.idle_device import Clock, idle_power_mw
from suite.measuring.sensor_plan import SensorPlan
from suite.planning.plan import IDLE_SECONDS
from suite.sessions.record import Cause, SensorTrace, SessionRecord

PROBES = 9
_TIMEOUT_S = 20.0
_LONGEST_NS = 2**62


@dataclass(frozen=True)
class ClockReading:
    """At the host time `host_ns` the device's clock was ahead by `offset_ns`, give or take `error_ns`."""

    host_ns: int
    offset_ns: int
    error_ns: int


@dataclass(frozen=True)
class ClockLine:
    """The offset between two readings."""

    before: ClockReading
    after: ClockReading

    def device_ns(self, host_ns: int) -> int:
        """Returns the device's clock at a host time; beyond the readings, extrapolated."""
        span = self.after.host_ns - self.before.host_ns
        if span <= 0:
            return host_ns + self.before.offset_ns
        drift = self.after.offset_ns - self.before.offset_ns
        return host_ns + self.before.offset_ns + round(drift * ((host_ns - self.before.host_ns) / span))

    @property
    def error_ms(self) -> float:
        """The largest error of a converted time."""
        return max(self.before.error_ns, self.after.error_ns) / 1e6


def read_clock(device: Device, command: Sequence[str], probes: int = PROBES) -> ClockReading | Unavailable:
    """Reads the device's clock by `command` (the runner with `--clock`); the shortest round trip counts."""
    best: ClockReading | None = None
    try:
        for _ in range(probes):
            t1 = time.monotonic_ns()
            result = device.transport.run(command, timeout_s=_TIMEOUT_S)
            t2 = time.monotonic_ns()
            text = result.stdout.strip()
            if result.end.rc != 0 or not (text.isascii() and text.isdecimal()) or int(text) > _LONGEST_NS:
                return Unavailable("the runner on the device doesn't report its clock (`runner --clock`)")
            reading = ClockReading((t1 + t2) // 2, int(text) - (t1 + t2) // 2, (t2 - t1 + 1) // 2)
            if best is None or reading.error_ns < best.error_ns:
                best = reading
    except DeviceError as error:
        return Unavailable(f"the device's clock can't be read: {error}")
    return best or Unavailable("the device's clock was not read")


_MW_PER_W = 1e3
_FIRST_READINGS = 3
_FIRST_READINGS_S = 5.0
_LAST_READING_S = 2.0
# Seconds for which readings are kept before and after the runner's: an energy window needs one on either side.
_MARGIN_NS = 2 * 10**9


class NoMeter:
    """Stands in for a meter where there is none: uses the device's own sensors."""

    def __init__(self, device: Device, clock: Clock) -> None:
        self._device, self._clock = device, clock

    def idle_power_mw(self, sensors: Sequence[Sensor], plan: SensorPlan) -> float | Unavailable:
        """Measures the mean power over the next seconds with the device's sensors."""
        return idle_power_mw(self._device, sensors, plan.energy_sensors, plan.wrap_range_mj, self._clock)

    def joined(self, record: SessionRecord) -> SessionRecord:
        """Returns the record unchanged."""
        return record


class Meter:
    """A running meter program, and the reading of the device's clock from its start."""

    def __init__(self, device: Device, clock_command: Sequence[str], program: MeterProgram, clock: Clock) -> None:
        self._device, self._clock_command, self._program, self._clock = device, tuple(clock_command), program, clock
        self._before: ClockReading | Unavailable = read_clock(device, self._clock_command)
        wait_for_samples(program, _FIRST_READINGS, clock.sleep, _FIRST_READINGS_S)

    def idle_power_mw(self, sensors: Sequence[Sensor], plan: SensorPlan) -> float | Unavailable:
        """Measures the mean power over the next seconds, in which nothing may run on the device."""
        del sensors, plan  # the meter alone measures the whole device
        seen = len(self._program.samples())
        self._clock.sleep(IDLE_SECONDS)
        readings = self._program.samples()[max(seen - 1, 0) :]
        if len(readings) < 2 or self._program.ended:
            return Unavailable(self._program.trouble or f"the meter gave {len(readings)} readings while idle")
        trace = _trace(readings, tuple(item.t_ns for item in readings), 0.0)
        return mean_power_mw({METER: trace}, [METER], {})

    def joined(self, record: SessionRecord) -> SessionRecord:
        """Returns the record with the meter's trace, or with the reason why there is none. Never raises."""
        trace = self._aligned(record)
        if isinstance(trace, Unavailable):
            return replace(record, sensor_errors={**record.sensor_errors, METER: trace.reason})
        errors = dict(record.sensor_errors)
        if self._program.trouble is not None:
            errors[METER] = self._program.trouble
        return replace(record, samples={**record.samples, METER: trace}, sensor_errors=errors)

    def _aligned(self, record: SessionRecord) -> SensorTrace | Unavailable:
        if isinstance(self._before, Unavailable):
            return self._before
        if record.cause is Cause.LOST or record.header is None:
            return Unavailable("the session ended before the device's clock could be read again")
        after = read_clock(self._device, self._clock_command)
        if isinstance(after, Unavailable):
            return after
        # The reading that follows the last step is yet to come.
        wait_for_samples(self._program, len(self._program.samples()) + 1, self._clock.sleep, _LAST_READING_S)
        line = ClockLine(self._before, after)
        begin_ns, end_ns = _span(record)
        readings = [
            (item, t_ns)
            for item in self._program.samples()
            if begin_ns - _MARGIN_NS <= (t_ns := line.device_ns(item.t_ns)) <= end_ns + _MARGIN_NS
        ]
        if not readings:
            return Unavailable(self._program.trouble or "the meter gave no readings during the session")
        return _trace([item for item, _ in readings], tuple(t_ns for _, t_ns in readings), line.error_ms)


@contextlib.contextmanager
def open_meter(device: Device, runner: Sequence[str], clock: Clock | None = None) -> Iterator[Meter | NoMeter]:
    """Runs the entry's meter for the block, if the inventory names one. `runner`: its command on the device."""
    power, clock = device.entry.power, clock or Clock()
    if power is None or power.command is None:
        yield NoMeter(device, clock)
        return
    with MeterProgram(power.command, power.clock) as program:
        yield Meter(device, [*runner, "--clock"], program, clock)


def _trace(readings: Sequence[MeterSample], t_ns: tuple[int, ...], error_ms: float) -> SensorTrace:
    return SensorTrace(METER, POWER, t_ns, tuple(item.watts * _MW_PER_W for item in readings), error_ms)


def _span(record: SessionRecord) -> tuple[int, int]:
    """Returns the first and the last time that the runner reported."""
    begin_ns = record.header.t_ns if record.header is not None else 0
    ends = [step.t1_ns for step in record.steps[-1:]]
    if record.footer is not None and record.footer.t_ns is not None:
        ends.append(record.footer.t_ns)
    return begin_ns, max([begin_ns, *ends])
