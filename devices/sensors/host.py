"""All sensors of a Linux host in one look."""

from __future__ import annotations

from dataclasses import replace

from devices.sensors.battery import battery_sensors
from devices.sensors.cpu import frequency_sensors, throttle_sensors
from devices.sensors.memory import memory_sensors
from devices.sensors.rapl import rapl_sensors
from devices.sensors.spec import Discovery
from devices.sensors.thermal import thermal_sensors
from devices.sensors.tree import Tree


def linux_sensors(tree: Tree) -> Discovery:
    """Memory, thermal zones, battery, RAPL, frequency and throttling of a Linux device."""
    battery, rapl = battery_sensors(tree), rapl_sensors(tree)
    if battery.sensors:
        # The battery feeds the whole device, the processor's counters included: they must not be added to it.
        rapl = Discovery(tuple(replace(sensor, total=False) for sensor in rapl.sensors), rapl.unavailable)
    return (
        memory_sensors(tree) + thermal_sensors(tree) + battery + rapl + frequency_sensors(tree) + throttle_sensors(tree)
    )
