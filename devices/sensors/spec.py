"""What a sensor is, and which one measures the power of the whole device.

Discovery doesn't take samples; the runner on the device does. The total is the sensor that the inventory names, else
the one that the kind prefers; if there is none, a gap says why and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from devices.inventory.entry import PowerSource

Quantity = Literal[
    "memory_kib",
    "temperature_mc",
    "power_mw",
    "energy_mj",
    "frequency_khz",
    "frequency_cap_khz",
    "throttle_events",
    "throttle_flags",
    "chargers",
]
Form = Literal["gauge", "counter"]


@dataclass(frozen=True)
class Sensor:
    """A source of samples on a device.

    The first part is for the runner (the job's `sensors` entries in docs/contracts.md): a value is the first number of
    `path` (of its line that starts with `field`), times the number in `times`, times `scale`, in the unit with which
    `quantity` ends: a `Quantity`, or `own_UNIT` for a sensor that the inventory or a plugin defines. With `command`,
    `path` is empty and a program prints one number per line, about `rate_hz` of them a second, until it is ended. A
    value outside `plausible` is dropped.

    The second part stays on the host. `form`: a gauge is a momentary value; a counter only grows, and wraps to 0 after
    `counter_range` (in the values' unit; None: it doesn't wrap). `method` describes what is read, from which driver,
    and how often the driver refreshes it. `total`: the device's power is the sum of the sensors with this flag, without
    any other rail. `limit`: the value at which the system itself intervenes (the lowest trip point of a thermal zone).
    """

    name: str
    quantity: str
    path: str
    scale: float
    rate_hz: float
    method: str
    field: str | None = None
    times: str | None = None
    form: Form = "gauge"
    counter_range: float | None = None
    total: bool = False
    limit: float | None = None
    command: tuple[str, ...] | None = None
    plausible: tuple[float, float] | None = None

    def job_entry(self) -> dict[str, Any]:
        """Returns the sensor's entry in the runner's job file."""
        entry: dict[str, Any] = {"name": self.name, "quantity": self.quantity}
        entry |= {"path": self.path} if self.command is None else {"command": list(self.command)}
        if self.field is not None:
            entry["field"] = self.field
        if self.times is not None:
            entry["times"] = self.times
        entry |= {"scale": self.scale, "rate_hz": self.rate_hz}
        return entry if self.plausible is None else entry | {"range": list(self.plausible)}


@dataclass(frozen=True)
class Gap:
    """A sensor that can't be read here, why, and the remedy (None if the user can't do anything).

    Not an `Unavailable`, which replaces one value: a gap names what is missing, and a device may have many.
    """

    name: str
    quantity: str
    reason: str
    remedy: str | None = None


@dataclass(frozen=True)
class Discovery:
    """The sensors found on a device, and the gaps."""

    sensors: tuple[Sensor, ...] = ()
    unavailable: tuple[Gap, ...] = ()

    def __add__(self, other: Discovery) -> Discovery:
        return Discovery(self.sensors + other.sensors, self.unavailable + other.unavailable)


_POWER = ("power_mw", "energy_mj")
# The dots in `hwmon.CHIP.LABEL`.
_LABELLED = 2
METER_REMEDY = "use an external meter (`power: {command: [...]}` in the inventory, docs/sensors.md)"


def with_chosen_total(found: Discovery, power: PowerSource | None) -> Discovery:
    """Applies the inventory's choice of a total; without one, returns `found` unchanged.

    `power.sensor` becomes the only total, corrected by `power.scale` and `power.sign`. With a meter (`power.command`)
    the device has no total of its own. All other sensors become rails.
    """
    if power is not None and power.command is not None:
        rails = tuple(replace(sensor, total=False) for sensor in found.sensors)
        gaps = tuple(replace(gap, remedy=None) if _asks_for_meter(gap) else gap for gap in found.unavailable)
        return Discovery(rails, gaps)
    if power is None or power.sensor is None:
        return found
    candidates = [sensor for sensor in found.sensors if sensor.quantity in _POWER]
    chosen = [sensor for sensor in candidates if sensor.name == power.sensor]
    of_channel = [sensor for sensor in candidates if channel_of(sensor) == power.sensor]
    if not chosen and len(of_channel) == 1:  # with several chips of one name, only the label identifies one
        chosen = of_channel
    sensors = tuple(
        _as_total(sensor, power) if sensor in chosen else replace(sensor, total=False) for sensor in found.sensors
    )
    if chosen:
        return Discovery(sensors, tuple(gap for gap in found.unavailable if gap.name != "power"))
    kept = next((gap for gap in found.unavailable if gap.name == power.sensor), None)
    if kept is not None:
        reason = f"the inventory's power.sensor is {power.sensor}, which can't be read now: {kept.reason}"
        return Discovery(sensors, (*found.unavailable, Gap("power", "power_mw", reason, kept.remedy)))
    names = ", ".join(sensor.name for sensor in candidates) or "none"
    reason = f"the inventory's power.sensor is {power.sensor}, which doesn't exist now (power sensors: {names})"
    gap = Gap("power", "power_mw", reason, "correct power.sensor in the inventory")
    return Discovery(sensors, (*found.unavailable, gap))


def _asks_for_meter(gap: Gap) -> bool:
    remedy = gap.remedy or ""
    return remedy == METER_REMEDY or (gap.name == "power" and remedy.endswith(METER_REMEDY))


def channel_of(sensor: Sensor) -> str | None:
    """Returns the name of a hardware monitor's sensor by its channel (`hwmon.ina238.power1`), whatever its label."""
    chip, _, label = sensor.name.rpartition(".")
    if label.isdecimal() and chip.count(".") == _LABELLED:  # the second one of that name: hwmon.ina238.VIN.2
        chip = chip.rpartition(".")[0]
    channel = sensor.path.rpartition("/")[2].partition("_")[0]
    return f"{chip}.{channel}" if chip.startswith("hwmon.") else None


def _as_total(sensor: Sensor, power: PowerSource) -> Sensor:
    if sensor.name.startswith("battery."):
        return replace(sensor, total=True)  # already corrected by scale and sign
    factor = (power.scale or 1.0) * (power.sign or 1)
    corrected = "" if factor == 1.0 else f", times {factor:g}"
    return replace(
        sensor,
        scale=sensor.scale * factor,
        total=True,
        method=f"{sensor.method}{corrected}; the whole device, according to the inventory",
        counter_range=None if sensor.counter_range is None else sensor.counter_range * abs(factor),
    )
