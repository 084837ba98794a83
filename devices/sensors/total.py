"""Which sensor is the power of the whole device, if the inventory says so; and what to do where none is."""

from __future__ import annotations

from dataclasses import replace

from devices.entry import PowerSource
from devices.sensors.spec import Discovery, Gap, Sensor

_POWER = ("power_mw", "energy_mj")
METER_REMEDY = "use an external meter (`power: {command: [...]}` in the inventory, docs/sensors.md)"


def with_chosen_total(found: Discovery, power: PowerSource | None) -> Discovery:
    """What the inventory says of the total; as it was found where that says nothing.

    `power.sensor` becomes the one total, with `power.scale` and `power.sign`. A meter (`power.command`) leaves none to
    the device. All other sensors are rails beside it.
    """
    if power is not None and power.command is not None:
        rails = tuple(replace(sensor, total=False) for sensor in found.sensors)
        gaps = tuple(replace(gap, remedy=None) if gap.remedy == METER_REMEDY else gap for gap in found.unavailable)
        return Discovery(rails, gaps)
    if power is None or power.sensor is None:
        return found
    chosen = [sensor for sensor in found.sensors if sensor.name == power.sensor and sensor.quantity in _POWER]
    sensors = tuple(
        _as_total(sensor, power) if sensor in chosen else replace(sensor, total=False) for sensor in found.sensors
    )
    if chosen:
        return Discovery(sensors, found.unavailable)
    names = ", ".join(sensor.name for sensor in found.sensors if sensor.quantity in _POWER) or "none"
    reason = f"the inventory's power.sensor is {power.sensor}, which isn't there now (power sensors: {names})"
    gap = Gap("power", "power_mw", reason, "correct power.sensor in the inventory")
    return Discovery(sensors, (*found.unavailable, gap))


def _as_total(sensor: Sensor, power: PowerSource) -> Sensor:
    if sensor.name.startswith("battery."):
        return sensor  # its scale and sign are in it already
    factor = (power.scale or 1.0) * (power.sign or 1)
    corrected = "" if factor == 1.0 else f", times {factor:g}"
    return replace(
        sensor,
        scale=sensor.scale * factor,
        total=True,
        method=f"{sensor.method}{corrected}; the whole device, as the inventory says",
        counter_range=None if sensor.counter_range is None else sensor.counter_range * abs(factor),
    )
