"""Finds the unit, the sign and the number of cells of a device's power gauge from readings while idle and under load.

Drivers differ in what the kernel's documentation fixes (microamperes, microvolts, microwatts; positive while charging,
or while discharging). The device idles, computes on all cores, and idles again, while its own shell reads the gauge.
Units are a factor of a thousand apart, so only one of them gives a power that a device can draw. Smaller factors come
from a meter, or from the battery's counter of charge (or of energy, if the gauge measures power).

That counter measures the same flow independently. A phone with two cells in parallel may report the current of only
one; then its unit is plausible but its power is half the true one. A gauge that takes one cell's voltage for that of
two in series can't be found this way, as gauge and counter agree.
"""

from __future__ import annotations

import math
import posixpath
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from devices.access.connect import Device
from devices.checks.facts import usable_cpus
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import KINDS
from devices.sensors.battery import SUPPLIES, RawGauge, all_chargers, battery_states, raw_gauges
from devices.sensors.reading import first_number
from devices.transports.shell.scripts import BUSY_LOOP
from foundation.causes import cause_line
from foundation.text import format_rounded, printable
from suite import stats
from suite.errors import SuiteError

#: Range of the power that a device with such a gauge can draw, idle and under load.
PLAUSIBLE_MW = (200.0, 200_000.0)
PHONE_MW = (200.0, 20_000.0)
#: Range of the voltage of a battery with one to fourteen cells.
_PLAUSIBLE_MV = (2_500.0, 62_000.0)
#: Load must differ from idle by this fraction, and by this multiple of the scatter of the readings.
_LEAST_SHARE = 0.1
_LEAST_SCATTERS = 3.0

READ_EVERY_S = 0.5
SETTLE_S = 3.0
_SPARE_S = 60.0
_UNITS = ((1.0, "micro"), (1e3, "milli"))

_SCRIPT = """\
interval=$1 count=$2 cores=$3 settle=$4 path=$5 times=$6 counter=$7 pids=
sample() {
  n=0
  while [ "$n" -lt "$count" ]; do
    a= b= c=
    read -r a < "$path" || [ -n "$a" ] || exit 3
    if [ -z "$times" ]; then b=1; else read -r b < "$times" || [ -n "$b" ] || exit 3; fi
    if [ -n "$counter" ]; then read -r c < "$counter" || [ -n "$c" ] || c=; fi
    echo "$1 $a $b $c"
    n=$((n + 1))
    sleep "$interval"
  done
}
trap 'kill $pids 2> /dev/null' EXIT
trap 'exit 143' TERM INT HUP
sample idle
while [ "$cores" -gt 0 ]; do busy & pids="$pids $!"; cores=$((cores - 1)); done
sleep "$settle"
sample load
kill $pids
pids=
sleep "$settle"
sample idle
"""
#: Files with the remaining charge or energy, in order of preference: for gauges of current, for gauges of power.
_COUNTERS = {True: ("charge_counter", "charge_now"), False: ("energy_now",)}
#: The fewest changes of the counter; only whole steps between changes count, so that their size does not matter.
_LEAST_CHANGES = 5
_MOST_CELLS = 4
#: A ratio this close to a whole number is taken for that number of cells.
_TOLERANCE = 0.15
_S_PER_HOUR = 3600.0


class CalibrationError(SuiteError):
    """The gauge cannot be calibrated now. The message has the figures and what to do."""


@dataclass(frozen=True)
class Readings:
    """Readings of the gauge's files, as pairs whose product is the power in some unit (the second may be 1).

    `course`: all readings in order, together with the counter of charge; empty without a counter.
    """

    idle: tuple[tuple[float, float], ...]
    load: tuple[tuple[float, float], ...]
    course: tuple[CoursePoint, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """The result. `scale` and `sign` are for the inventory; the powers are the readings converted with them.

    `factor` is the part of `scale` that no unit explains, `factor_note` where it comes from, or why it is left at 1.
    """

    gauge: str
    unit: str
    scale: float
    sign: int
    idle_mw: float
    load_mw: float
    idle_raw: float
    load_raw: float
    factor: float = 1.0
    factor_note: str = ""

    def __str__(self) -> str:
        direction = "drawn power is positive" if self.sign > 0 else "drawn power is negative, so the sign is reversed"
        return (
            f"{self.gauge}: {self.unit}, {direction}: {format_rounded(self.idle_mw)} mW idle, "
            f"{format_rounded(self.load_mw)} mW on all cores{'; ' if self.factor_note else ''}{self.factor_note}"
        )


def calibrate(device: Device, seconds: float, meter_mw: float | None = None) -> Calibration:
    """Measures idle, load, idle for `seconds` each. Raises CalibrationError, and DeviceError if the device fails.

    `meter_mw`: the device's true power while all cores are busy, according to a meter.
    """
    gauge = _gauge(device)
    _require_discharging(device)
    readings = take_readings(device, gauge, seconds)
    return calibration_of(gauge, readings, PHONE_MW if device.entry.kind == "android" else PLAUSIBLE_MW, meter_mw)


def take_readings(device: Device, gauge: RawGauge, seconds: float) -> Readings:
    """Runs the phases on the device. The busy loops end with the shell that started them, however that ends."""
    count = max(4, math.ceil(seconds / READ_EVERY_S))
    cores = len(usable_cpus(device.tree)) or 1
    path, times = device.tree.path(gauge.path), device.tree.path(gauge.times) if gauge.times else ""
    words = (f"{READ_EVERY_S:g}", str(count), str(cores), f"{min(SETTLE_S, seconds):g}", path, times)
    found: dict[str, list[tuple[float, float]]] = {"idle": [], "load": []}
    course: list[CoursePoint] = []

    def take(line: str) -> None:
        phase, _, rest = line.partition(" ")
        numbers = [number for word in rest.split() if (number := first_number(word)) is not None]
        if phase in found and len(numbers) == len(rest.split()) >= 2:
            found[phase].append((numbers[0], numbers[1]))
            course.extend(CoursePoint(time.monotonic(), numbers[0], counter) for counter in numbers[2:3])

    device.transport.mkdir(device.places.workdir)
    timeout_s = 3 * (count * READ_EVERY_S * 2 + SETTLE_S) + _SPARE_S
    ended = device.launch(
        ["sh", "-c", BUSY_LOOP + _SCRIPT, "sh", *words, _counter(device, gauge)], take, timeout_s=timeout_s
    )
    if ended.rc != 0 or len(found["load"]) < count // 2 or len(found["idle"]) < count:
        raise CalibrationError(
            f"{gauge.supply} gave {len(found['idle'])} idle and {len(found['load'])} load readings of {2 * count} and "
            f"{count} (exit code {ended.rc}{cause_line(ended.stderr_tail)}): look at /{gauge.path} on the device."
        )
    return Readings(tuple(found["idle"]), tuple(found["load"]), tuple(course))


def _counter(device: Device, gauge: RawGauge) -> str:
    """Returns the path of the counter of charge that belongs to a battery's gauge; empty if there is none."""
    if not gauge.path.startswith(SUPPLIES):
        return ""
    folder = posixpath.dirname(gauge.path)
    paths = [f"{folder}/{name}" for name in _COUNTERS[gauge.times is not None]]
    texts = device.tree.read(paths)
    return next((device.tree.path(path) for path in paths if texts.number(path)), "")


def calibration_of(
    gauge: RawGauge, readings: Readings, plausible_mw: tuple[float, float], meter_mw: float | None = None
) -> Calibration:
    """Derives unit, sign and factor from the readings, or sign and factor from a meter's reading under load.

    Raises CalibrationError, with the figures, when that is ambiguous.
    """
    idle, load = ([a * b for a, b in values] for values in (readings.idle, readings.load))
    idle_raw, load_raw = stats.median(idle), stats.median(load)
    _require_difference(gauge, idle, load)
    sign = 1 if load_raw > 0 else -1
    if meter_mw is not None:
        scale = meter_mw / abs(load_raw * gauge.scale)
        unit, factor = f"the documented units times {scale:.4g}", scale
        note = f"taken from the {format_rounded(meter_mw)} mW of the meter"
    else:
        unit, scale = _unit(gauge, readings, (idle_raw, load_raw), plausible_mw)
        cells = cell_factor(readings.course)
        scale, factor, note = scale * cells.factor, cells.factor, cells.note
    idle_mw, load_mw = (value * gauge.scale * scale * sign for value in (idle_raw, load_raw))
    if meter_mw is None and load_mw > plausible_mw[1]:
        raise CalibrationError(
            f"{_figures(gauge, idle_raw, load_raw)}: {unit}, {note}, that is {load_mw:.4g} mW, more than such a "
            "device can draw: compare with a meter (--meter-mw), or set power.scale by hand."
        )
    return Calibration(gauge.supply, unit, scale, sign, idle_mw, load_mw, idle_raw, load_raw, factor, note)


def _unit(
    gauge: RawGauge, readings: Readings, medians: tuple[float, float], plausible_mw: tuple[float, float]
) -> tuple[str, float]:
    """Returns the only unit, with its factor, in which such a device can draw the power read when idle and loaded."""
    volts = stats.median([second for _, second in readings.idle]) if gauge.times else None
    fits = [
        (unit, scale)
        for unit, scale in _candidates(gauge, volts)
        if all(plausible_mw[0] <= abs(value) * gauge.scale * scale <= plausible_mw[1] for value in medians)
    ]
    if len(fits) != 1:
        found = "no unit" if not fits else f"{len(fits)} units ({'; '.join(unit for unit, _ in fits)})"
        raise CalibrationError(
            f"{_figures(gauge, *medians)}, and {found} would make that {plausible_mw[0]:g} to {plausible_mw[1]:g} mW; "
            "another factor (2 for a gauge of only one of two cells) can't be found from that: pass a meter's reading "
            "(--meter-mw), or set power.scale in the inventory by hand."
        )
    return fits[0]


def _gauge(device: Device) -> RawGauge:
    """Returns the sensor named in the inventory, or else the battery's."""
    power = device.entry.power
    if power is not None and power.sensor is not None and not power.sensor.startswith("battery."):
        return _find_gauge(device, device.entry, power.sensor)
    gauges = raw_gauges(device.tree)
    if not gauges:
        raise CalibrationError(
            f"{device.entry.name} has no battery gauge that can be read, and the units of its other sensors are fixed "
            "by their drivers: there is nothing to calibrate (`suite devices check` lists its sensors)."
        )
    if len(gauges) > 1:
        raise CalibrationError(
            f"{device.entry.name} has {len(gauges)} batteries, and which of them supplies the load can't be told: "
            "set power.scale and power.sign by hand."
        )
    return gauges[0]


def _find_gauge(device: Device, entry: DeviceEntry, name: str) -> RawGauge:
    plain = entry.model_copy(update={"power": None})
    for sensor in KINDS[entry.kind](plain).sensors(device.tree).sensors:
        if sensor.name == name and sensor.quantity == "power_mw" and sensor.command is None:
            return RawGauge(name, sensor.path, sensor.times, 0.0, sensor.scale)
    raise CalibrationError(
        f"{entry.name} has no gauge {printable(name)!r} now: see `suite devices check {entry.name}`."
    )


def _require_discharging(device: Device) -> None:
    plugged = all_chargers(device.tree).plugged
    # A second gauge of the same battery may not know the battery's status.
    reported = [state for state in battery_states(device.tree) if state not in ("Unknown", "not given")]
    states = [state for state in reported or battery_states(device.tree) if state != "Discharging"]
    if plugged or states:
        seen = ", ".join((*(f"charger {printable(name, 40)}" for name in plugged), *(f"status {s}" for s in states)))
        raise CalibrationError(
            f"{device.entry.name} is charging ({seen}), so its gauge measures what flows into the battery: unplug "
            "the charger (reach a phone over Wi-Fi meanwhile) and calibrate again."
        )


def _require_difference(gauge: RawGauge, idle: Sequence[float], load: Sequence[float]) -> None:
    idle_raw, load_raw = stats.median(idle), stats.median(load)
    scatter = max(_scatter(idle), _scatter(load))
    figures = f"{_figures(gauge, idle_raw, load_raw)} (scatter {scatter * gauge.scale:.4g} mW)"
    if not idle_raw or not load_raw:
        raise CalibrationError(f"{figures}: a gauge that reads 0 can't be calibrated; use a meter.")
    if idle_raw * load_raw < 0:
        raise CalibrationError(
            f"{figures}: its sign changes, as if a charger was plugged in or out; unplug it and try again."
        )
    difference = abs(load_raw) - abs(idle_raw)
    if abs(difference) < max(_LEAST_SHARE * abs(idle_raw), _LEAST_SCATTERS * scatter):
        raise CalibrationError(
            f"{figures}: load and idle can't be told apart; end other programs there, or measure longer (--seconds 30)."
        )
    if difference < 0:
        raise CalibrationError(f"{figures}: it reads less under load, so the device wasn't idle before; try again.")


def _figures(gauge: RawGauge, idle_raw: float, load_raw: float) -> str:
    """Formats the readings in milliwatts, taken in the units that the kernel documents."""
    idle, load = (f"{value * gauge.scale:.4g} mW" for value in (idle_raw, load_raw))
    return f"{gauge.supply} reads {idle} idle and {load} with all cores busy, taken in the kernel's units"


def _scatter(values: Sequence[float]) -> float:
    """Returns 1.4826 times the median absolute deviation, which estimates the standard deviation."""
    middle = stats.median(values)
    return 1.4826 * stats.median([abs(value - middle) for value in values])


def _candidates(gauge: RawGauge, volts: float | None) -> list[tuple[str, float]]:
    """Returns the units that drivers use, each with its factor to the documented one."""
    if gauge.times is None or volts is None:
        return [(f"power in {word}watts", scale) for scale, word in _UNITS]
    voltage = [
        (scale, word) for scale, word in _UNITS if _PLAUSIBLE_MV[0] <= abs(volts) * scale * 1e-3 <= _PLAUSIBLE_MV[1]
    ]
    return [
        (f"current in {current}amperes, voltage in {word}volts", scale * voltage_scale)
        for scale, current in _UNITS
        for voltage_scale, word in voltage
    ]


@dataclass(frozen=True)
class CoursePoint:
    """A moment: seconds on the host's clock, and in the driver's units the gauge's current or power and the counter."""

    seconds: float
    rate: float
    counter: float


@dataclass(frozen=True)
class CellFactor:
    """The factor for the gauge, and how it is known or why it is left at 1."""

    factor: float
    note: str


def cell_factor(course: Sequence[CoursePoint]) -> CellFactor:
    """Returns the number of cells by which counter and gauge differ, ignoring powers of a thousand between them."""
    remedy = "if it measures one of two cells, pass a meter's reading (--meter-mw), or set power.scale by hand"
    if not course:
        return CellFactor(1.0, f"no counter of its charge can be read to compare with: {remedy}")
    changes = [index for index in range(1, len(course)) if course[index].counter != course[index - 1].counter]
    if len(changes) <= _LEAST_CHANGES:
        seconds = course[-1].seconds - course[0].seconds
        return CellFactor(
            1.0,
            f"the counter of its charge changed {len(changes)} times in {seconds:.0f} s, but a comparison needs more "
            f"than {_LEAST_CHANGES} changes: measure longer (--seconds 120); {remedy}",
        )
    window = course[changes[0] : changes[-1] + 1]
    counted = abs(window[-1].counter - window[0].counter)
    integrated = sum(
        (abs(one.rate) + abs(other.rate)) / 2 * (other.seconds - one.seconds) for one, other in pairwise(window)
    )
    if not counted or not integrated:
        return CellFactor(1.0, f"its charge rose and fell meanwhile, so it can't be compared: {remedy}")
    ratio = counted * _S_PER_HOUR / integrated
    ratio /= 1000.0 ** round(math.log10(ratio) / 3)
    cells = max(1, min(_MOST_CELLS, round(ratio)))
    if abs(ratio / cells - 1.0) > _TOLERANCE:
        return CellFactor(
            1.0, f"the charge it loses is {ratio:.2f} times its reading, which is not a whole number of cells: {remedy}"
        )
    words = "confirmed by" if cells == 1 else f"times {cells}, as it measures one of {cells} cells according to"
    return CellFactor(float(cells), f"{words} the charge it loses ({ratio:.2f} times its reading)")
