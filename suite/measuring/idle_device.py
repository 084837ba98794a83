"""Waits for the idle device to cool down before a session, and measures its idle power.

Idle power is measured before and after each session; consecutive sessions share the measurement between them. A gauge
that only a program on the device can read is read through that program.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devices.access.connect import Device
from devices.errors import CommandError, FileError, OutputLimitError
from devices.sensors.spec import Sensor
from foundation.unavailable import Unavailable
from reports.model.quantities import TEMPERATURE
from suite.energy.session_energy import mean_power_mw
from suite.planning.plan import IDLE_SECONDS
from suite.sessions.record import IdlePower, SensorTrace

_SPARE_S = 30.0
_OUTPUT_LIMIT_BYTES = 8 << 20
_NUMBER = re.compile(r"[ \t:=]*([+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?)", re.ASCII)


class _Enough(Exception):  # noqa: N818 - ends a stream, not an error
    """The time is up."""


def program_trace(
    device: Device, sensor: Sensor, seconds: float, now_ns: Callable[[], int]
) -> SensorTrace | Unavailable:
    """Returns what the sensor's program prints within `seconds`, on the clock of `now_ns`."""
    times: list[int] = []
    values: list[float] = []
    end_ns = now_ns() + round(seconds * 1e9)

    def take(line: str) -> None:
        value = value_in(line, sensor)
        if value is not None:
            times.append(now_ns())
            values.append(value)

    def check() -> None:
        if now_ns() >= end_ns:
            raise _Enough

    try:
        ending = device.transport.stream(
            sensor.command or (),
            take,
            timeout_s=seconds + _SPARE_S,
            while_waiting=check,
            output_limit_bytes=_OUTPUT_LIMIT_BYTES,
        )
    except _Enough:
        return SensorTrace(sensor.name, sensor.quantity, tuple(times), tuple(values))
    except (CommandError, OutputLimitError) as error:
        return Unavailable(f"{sensor.name}: {error}")
    return Unavailable(f"{sensor.name}: its program ended with exit code {ending.rc} while the device was idle")


def value_in(line: str, sensor: Sensor) -> float | None:
    """Returns the scaled value of a line, as the runner reads it, or None if it has none."""
    field = sensor.field or ""
    if not line.startswith(field):
        return None
    match = _NUMBER.match(line, len(field))
    if match is None:
        return None
    value = float(match[1]) * sensor.scale
    return value if may_be_idle(value, sensor) else None


def may_be_idle(value: float, sensor: Sensor) -> bool:
    """Returns whether an idle device can have this reading, which may be below the sensor's range but not above it."""
    return sensor.plausible is None or 0 <= value <= sensor.plausible[1]


COOLED_WITHIN_MC = 2000.0
"""A session starts when the hottest zone is this close to its temperature at the run's start [ARM Workload Automation,
delay.py]."""

POLL_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 600.0
IDLE_PERIOD_SECONDS = 0.1


@dataclass(frozen=True)
class Clock:
    """The clock that the gate uses; tests pass their own."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class ThermalGate:
    """Remembers the temperatures at the run's start and waits for the device to return to them."""

    start_mc: Mapping[str, float]
    clock: Clock = Clock()

    @classmethod
    def at_start(cls, device: Device, sensors: Sequence[Sensor], clock: Clock | None = None) -> ThermalGate:
        """Returns the gate of a run that starts now."""
        return cls(_temperatures(device, sensors), clock or Clock())

    def wait(self, device: Device, sensors: Sequence[Sensor], notify: Callable[[str], None]) -> str | None:
        """Waits until the device has cooled. Returns a sentence if it is still too hot after the longest wait."""
        waited = 0.0
        while True:
            excess = self._excess_mc(_temperatures(device, sensors))
            if excess is None or excess[1] <= COOLED_WITHIN_MC:
                return None
            zone, above = excess
            if waited >= LONGEST_WAIT_SECONDS:
                return (
                    f"{zone} was still {above / 1e3:.1f} degC above the run's start after waiting {waited:.0f} s: "
                    "improve its cooling"
                )
            notify(f"waiting for {zone} to cool: {above / 1e3:.1f} degC above the start")
            self.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    def _excess_mc(self, now: Mapping[str, float]) -> tuple[str, float] | None:
        """Returns the hottest zone, of those known at both times, and how far it is above the hottest at the start."""
        shared = [zone for zone in now if zone in self.start_mc]
        if not shared:
            return None
        zone = max(shared, key=lambda name: now[name])
        return zone, now[zone] - max(self.start_mc[name] for name in shared)


def idle_power_mw(
    device: Device,
    sensors: Sequence[Sensor],
    energy_sensors: Sequence[str],
    wrap_range_mj: Mapping[str, float],
    clock: Clock | None = None,
) -> float | Unavailable:
    """Returns the mean power of the idle device, sampled by the host over the transport."""
    clock = clock or Clock()
    total_mw = 0.0
    programs = [sensor for sensor in sensors if sensor.name in energy_sensors and sensor.command is not None]
    for sensor in programs:
        trace = program_trace(device, sensor, IDLE_SECONDS, clock.monotonic_ns)
        if isinstance(trace, Unavailable):
            return trace
        power = mean_power_mw({sensor.name: trace}, [sensor.name], wrap_range_mj)
        if isinstance(power, Unavailable):
            return power
        total_mw += power
    chosen = [sensor for sensor in sensors if sensor.name in energy_sensors and sensor.command is None]
    if not chosen:
        return total_mw if programs else Unavailable("the device has no power sensor that can be read")
    power = _file_power_mw(device, chosen, wrap_range_mj, clock)
    return power if isinstance(power, Unavailable) else total_mw + power


def _file_power_mw(
    device: Device, chosen: Sequence[Sensor], wrap_range_mj: Mapping[str, float], clock: Clock
) -> float | Unavailable:
    """Returns the total mean power of the sensors that are files."""
    times: list[int] = []
    values: dict[str, list[float]] = {sensor.name: [] for sensor in chosen}
    end = clock.monotonic_ns() + int(IDLE_SECONDS * 1e9)
    while len(times) < 2 or times[-1] < end:  # on a slow link one reading may take all of that time
        now = _values(device, chosen)
        missing = [sensor.name for sensor in chosen if sensor.name not in now]
        if missing:
            return Unavailable(f"{missing[0]} could not be read while the device was idle")
        times.append(clock.monotonic_ns())
        for name, value in now.items():
            values[name].append(value)
        clock.sleep(IDLE_PERIOD_SECONDS)
    traces = {
        sensor.name: SensorTrace(sensor.name, sensor.quantity, tuple(times), tuple(values[sensor.name]))
        for sensor in chosen
    }
    return mean_power_mw(traces, [sensor.name for sensor in chosen], wrap_range_mj)


def _temperatures(device: Device, sensors: Sequence[Sensor]) -> dict[str, float]:
    return _values(device, [sensor for sensor in sensors if sensor.quantity == TEMPERATURE])


def _values(device: Device, sensors: Sequence[Sensor]) -> dict[str, float]:
    """Returns one reading of each readable sensor file, read as by the runner."""
    sensors = [sensor for sensor in sensors if sensor.command is None]
    paths = sorted({path for sensor in sensors for path in (sensor.path, sensor.times) if path is not None})
    texts = device.transport.read_texts(paths) if paths else {}
    found = {}
    for sensor in sensors:
        value = _number(texts.get(sensor.path), sensor.field)
        factor = 1.0 if sensor.times is None else _number(texts.get(sensor.times), None)
        if value is not None and factor is not None and may_be_idle(value * factor * sensor.scale, sensor):
            found[sensor.name] = value * factor * sensor.scale
    return found


def _number(text: str | FileError | None, field: str | None) -> float | None:
    """Returns the first number of the text, or of its line that starts with `field`."""
    if not isinstance(text, str):
        return None
    lines = text.splitlines() if field is None else [line for line in text.splitlines() if line.startswith(field)]
    words = lines[0].removeprefix(field or "").replace(":", " ").split() if lines else []
    try:
        return float(words[0]) if words else None
    except ValueError:
        return None


KEEPS_NS = 5 * 10**9
"""Idle power after a session also counts as that before the next one, if that starts within this time."""

Power = float | Unavailable
"""Mean idle power in mW, or why there is none."""


class IdleBracket:
    """The idle power of one device over one connection. `measure` takes seconds and returns mW."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: tuple[int, Power] | None = None

    def forget(self) -> None:
        """Discards the latest value: one measured over a lost connection does not hold for the next."""
        self._latest = None

    def before(self, measure: Callable[[], Power]) -> Power:
        """Returns the idle power before a session: the one after the previous session, if it is recent."""
        if self._latest is not None:
            taken_ns, power = self._latest
            if self._clock.monotonic_ns() - taken_ns <= KEEPS_NS:
                return power
        return self.after(measure)

    def after(self, measure: Callable[[], Power]) -> Power:
        """Returns the idle power after a session."""
        power = measure()
        self._latest = (self._clock.monotonic_ns(), power)
        return power


def bracket(before: Power, after: Power) -> IdlePower | Unavailable:
    """Returns both, or why one is missing."""
    if isinstance(before, Unavailable):
        return before
    return after if isinstance(after, Unavailable) else IdlePower(before, after)
