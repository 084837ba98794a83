"""Power that a program of the device tells, read from the host while nothing runs: for idle power."""

from __future__ import annotations

import re
from collections.abc import Callable

from devices.connect import Device
from devices.errors import CommandError, OutputLimitError
from devices.sensors.spec import Sensor
from foundation.unavailable import Unavailable
from suite.trace import SensorTrace

_SPARE_S = 30.0
_OUTPUT_LIMIT_BYTES = 8 << 20
_NUMBER = re.compile(r"[ \t:=]*([+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?)", re.ASCII)


class _Enough(Exception):  # noqa: N818 - the way to end a stream, not a fault
    """The time is over."""


def program_trace(
    device: Device, sensor: Sensor, seconds: float, now_ns: Callable[[], int]
) -> SensorTrace | Unavailable:
    """What the sensor's program prints within so many seconds, on the clock that `now_ns` reads."""
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
    """The scaled value of a line as the runner reads it; None if it counts for nothing."""
    field = sensor.field or ""
    if not line.startswith(field):
        return None
    match = _NUMBER.match(line, len(field))
    if match is None:
        return None
    value = float(match[1]) * sensor.scale
    return value if may_be_idle(value, sensor) else None


def may_be_idle(value: float, sensor: Sensor) -> bool:
    """Whether a reading can be that of an idle device: it may draw less than the sensor's range, never more."""
    return sensor.plausible is None or 0 <= value <= sensor.plausible[1]
