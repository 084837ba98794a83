"""Holds what this host needs to know of a device's sensors, besides the job entries for the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.inventory.entry import PowerSource
from devices.sensors.spec import Discovery
from reports.model.quantities import ENERGY_COUNTER, POWER, TEMPERATURE
from suite.energy.session_energy import METER
from suite.sessions.record import SensorFact


@dataclass(frozen=True)
class SensorPlan:
    """Each sensor's quantity, an energy counter's range (mJ) and a zone's lowest trip point (millidegrees), by name.

    `energy_sensors`: the sensors whose sum is the power of the whole device; empty if that is unavailable.
    """

    facts: tuple[SensorFact, ...]
    quantities: Mapping[str, str]
    energy_sensors: tuple[str, ...]
    wrap_range_mj: Mapping[str, float]
    trip_mc: Mapping[str, float]


def sensor_plan(discovery: Discovery, power: PowerSource | None = None) -> SensorPlan:
    """Returns the plan for the discovered sensors. A meter in the inventory (`power.command`) is the only total."""
    readable = [SensorFact(item.name, item.quantity, method=item.method) for item in discovery.sensors]
    missing = [SensorFact(gap.name, gap.quantity, unavailable=gap.reason) for gap in discovery.unavailable]
    totals = tuple(item.name for item in discovery.sensors if item.total and item.quantity in (POWER, ENERGY_COUNTER))
    if power is not None and power.command is not None:
        totals = (METER,)
        method = "external meter on the host, put on the device's clock by the shortest of several round trips"
        readable.append(SensorFact(METER, POWER, method=method))
    return SensorPlan(
        facts=(*readable, *missing),
        quantities={item.name: item.quantity for item in discovery.sensors},
        energy_sensors=totals,
        wrap_range_mj={
            item.name: item.counter_range
            for item in discovery.sensors
            if item.quantity == ENERGY_COUNTER and item.counter_range is not None
        },
        trip_mc={
            item.name: item.limit
            for item in discovery.sensors
            if item.quantity == TEMPERATURE and item.limit is not None
        },
    )
