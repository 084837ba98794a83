"""All sensors of a Linux host in one look."""

from __future__ import annotations

from dataclasses import replace

from devices.entry import PowerSource
from devices.sensors.battery import Gauge, battery_sensors
from devices.sensors.chargers import chargers_in
from devices.sensors.cpu import frequency_cap_sensors, frequency_sensors, throttle_sensors
from devices.sensors.hwmon import hwmon_sensors
from devices.sensors.memory import memory_sensors
from devices.sensors.rapl import rapl_sensors
from devices.sensors.spec import Discovery, Gap
from devices.sensors.thermal import thermal_sensors
from devices.sensors.total import METER_REMEDY, with_chosen_total
from devices.sensors.tree import Tree


def linux_sensors(tree: Tree, power: PowerSource | None = None) -> Discovery:
    """Memory, thermal zones, battery, RAPL, hardware monitors, frequency and throttling of a Linux device."""
    chargers = chargers_in(tree)
    gauge = Gauge() if power is None else Gauge(power.scale, power.sign)
    battery, rapl = battery_sensors(tree, gauge, chargers.plugged), rapl_sensors(tree)
    if battery.sensors:
        # The battery feeds the whole device, the processor's counters included: they must not be added to it.
        rapl = Discovery(tuple(replace(sensor, total=False) for sensor in rapl.sensors), rapl.unavailable)
        battery += chargers.sensors
    found = (
        memory_sensors(tree)
        + thermal_sensors(tree)
        + battery
        + rapl
        + hwmon_sensors(tree)
        + clock_sensors(tree)
        + throttle_sensors(tree)
    )
    if not any(sensor.total for sensor in found.sensors):
        reason = "no sensor that can be read measures the whole device"
        found += Discovery(unavailable=(Gap("power", "power_mw", reason, METER_REMEDY),))
    return with_chosen_total(found, power)


def clock_sensors(tree: Tree) -> Discovery:
    """What the cores' clock does, and may do."""
    return frequency_sensors(tree) + frequency_cap_sensors(tree)
