"""A short look at an entry's meter, for `suite devices check`."""

from __future__ import annotations

import itertools
import time

from devices.entry import DeviceEntry
from devices.inspection import Row
from suite import stats
from suite.meter_program import MeterProgram, wait_for_samples
from suite.session_energy import METER

_READINGS = 10
_LONGEST_S = 5.0


def meter_rows(entry: DeviceEntry) -> tuple[Row, ...]:
    """A row for the meter: how fast it reads and what it reads now. None of them without a meter."""
    power = entry.power
    if power is None or power.command is None:
        return ()
    item = f"sensor {METER}"
    with MeterProgram(power.command, power.clock) as program:
        wait_for_samples(program, _READINGS, time.sleep, _LONGEST_S)
        readings, trouble = program.samples(), program.trouble
    if len(readings) < 2 or trouble is not None:
        reason = trouble or f"{len(readings)} readings in {_LONGEST_S:g} s, at least 2 are needed"
        remedy = "run its command by hand: it must print `seconds watts` lines at once, and go on until it is ended"
        return (Row(item, "unavailable", f"power_mw: {reason}", remedy),)
    spacing_s = stats.median([(b.t_ns - a.t_ns) / 1e9 for a, b in itertools.pairwise(readings)])
    watts = stats.median([reading.watts for reading in readings])
    rate = f"{1 / spacing_s:.1f} readings a second" if spacing_s > 0 else "many readings at once"
    return (Row(item, "ok", f"power_mw: external meter, {rate}, {watts:.2f} W now; the device's total"),)
