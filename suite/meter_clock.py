"""The device's clock seen from the host's: for what a meter on the host has measured.

A remote reading r of the device's CLOCK_MONOTONIC between the host times t1 and t2 says that device minus host lies in
[r - t2, r - t1]. Of N readings the one with the smallest round trip is kept, before and after the session; in between
the offset is interpolated, which takes the clocks' drift out. The error is half that round trip [MLCommons power-dev,
lib/time_sync.py].
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from devices.connect import Device
from devices.errors import DeviceError
from foundation.unavailable import Unavailable

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
        """The device's clock at a host time; beyond the readings it goes on as between them."""
        span = self.after.host_ns - self.before.host_ns
        if span <= 0:
            return host_ns + self.before.offset_ns
        drift = self.after.offset_ns - self.before.offset_ns
        return host_ns + self.before.offset_ns + round(drift * ((host_ns - self.before.host_ns) / span))

    @property
    def error_ms(self) -> float:
        """How far off a time can be."""
        return max(self.before.error_ns, self.after.error_ns) / 1e6


def read_clock(device: Device, command: Sequence[str], probes: int = PROBES) -> ClockReading | Unavailable:
    """The device's clock through `command` (the runner with `--clock`), the reading with the smallest round trip."""
    best: ClockReading | None = None
    try:
        for _ in range(probes):
            t1 = time.monotonic_ns()
            result = device.transport.run(command, timeout_s=_TIMEOUT_S)
            t2 = time.monotonic_ns()
            text = result.stdout.strip()
            if result.rc != 0 or not (text.isascii() and text.isdecimal()) or int(text) > _LONGEST_NS:
                return Unavailable("the runner on the device doesn't tell its clock (`runner --clock`)")
            reading = ClockReading((t1 + t2) // 2, int(text) - (t1 + t2) // 2, (t2 - t1 + 1) // 2)
            if best is None or reading.error_ns < best.error_ns:
                best = reading
    except DeviceError as error:
        return Unavailable(f"the device's clock can't be read: {error}")
    return best or Unavailable("the device's clock was not read")
