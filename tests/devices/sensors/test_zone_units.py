"""Temperatures and clocks whose unit is not the documented one: magnitude and trip points decide, or they are a gap."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from devices.access.connect import Device
from devices.deployment.cache import Places
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import LinuxKind
from devices.sensors.linux_host import frequency_cap_sensors, frequency_sensors
from devices.sensors.spec import Discovery
from devices.sensors.thermal import thermal_sensors
from suite.measuring.idle_device import Clock, ThermalGate
from tests.support.devices.made_files import MakeTree

ZONE = "sys/class/thermal/thermal_zone0"
CPUFREQ = "sys/devices/system/cpu/cpufreq/policy0"


def zone(temp: str, trips: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    files = {f"{ZONE}/type": "cpu_thermal_zone", f"{ZONE}/temp": temp}
    for number, (kind, point) in enumerate(trips):
        files |= {f"{ZONE}/trip_point_{number}_type": kind, f"{ZONE}/trip_point_{number}_temp": point}
    return files


WHOLE, TENTHS, MILLI = "85", "850", "85000"


@pytest.mark.parametrize(
    ("temp", "trip", "read_mc"),
    [
        ("65000", MILLI, 65_000),
        ("65000", None, 65_000),
        ("-5000", MILLI, -5_000),
        ("65", WHOLE, 65_000),
        ("65", None, 65_000),
        ("9", WHOLE, 9_000),
        ("653", TENTHS, 65_300),
        ("1010", TENTHS, 101_000),
        ("42000", WHOLE, 42_000),  # each in a unit of its own
    ],
)
def test_a_zone_is_read_in_the_unit_that_its_size_and_trip_points_imply(
    make_tree: MakeTree, temp: str, trip: str | None, read_mc: float
) -> None:
    tree = make_tree(zone(temp, [] if trip is None else [("passive", trip), ("hot", "0")]))
    (sensor,) = thermal_sensors(tree).sensors
    assert float(tree.transport.read_text(sensor.path)) * sensor.scale == pytest.approx(read_mc)
    assert sensor.limit == (None if trip is None else 85_000)


@pytest.mark.parametrize(
    ("temp", "trips"),
    [
        ("65", [MILLI]),  # 65 degC or 0.065
        ("65", [WHOLE, TENTHS]),
        ("9", []),
        ("0", []),
        ("0", [WHOLE]),
        ("-3", []),
        ("338", []),  # 33.8 degC, or 65 degC in kelvin
        ("700", [WHOLE]),
        ("87", ["10"]),  # no computer acts at 10 degrees
    ],
)
def test_a_zone_whose_unit_cannot_be_determined_is_unavailable(
    make_tree: MakeTree, temp: str, trips: list[str]
) -> None:
    found = thermal_sensors(make_tree(zone(temp, [("critical", point) for point in trips])))
    assert not found.sensors
    (gap,) = found.unavailable
    assert f"reads {temp}, which" in gap.reason


@pytest.mark.parametrize("name", ["soc", "vbat", "pm8150b-ibat-lvl0", "pm8150b-bcl-lvl1"])
def test_a_zone_that_measures_the_battery_is_no_temperature(make_tree: MakeTree, name: str) -> None:
    found = thermal_sensors(make_tree(zone("87") | {f"{ZONE}/type": name}))
    assert not found.sensors
    assert "a charge, voltage or current" in found.unavailable[0].reason


def test_the_thermal_gate_waits_for_a_zone_in_whole_degrees(make_tree: MakeTree) -> None:
    tree = make_tree(zone("45"))
    entry = DeviceEntry(name="pi", kind="linux", transport="local", workdir="/w")
    device = Device(entry, tree.transport, LinuxKind(entry), tree, Places("/w"))
    sensors = thermal_sensors(tree).sensors
    waits: list[float] = []

    def cool(seconds: float) -> None:
        waits.append(seconds)
        tree.transport.write(tree.path(f"{ZONE}/temp"), b"46")

    gate = ThermalGate.at_start(device, sensors, Clock(sleep=cool))
    tree.transport.write(tree.path(f"{ZONE}/temp"), b"65")
    notes: list[str] = []
    assert gate.wait(device, sensors, notes.append) is None
    assert len(waits) == 1
    assert "20.0 degC above" in notes[0]


@pytest.mark.parametrize(("read", "kept"), [("1800000", True), ("1800", False), ("1800000000", False), ("0", False)])
def test_a_clock_that_is_not_in_kilohertz_is_unavailable(make_tree: MakeTree, read: str, kept: bool) -> None:
    tree = make_tree({f"{CPUFREQ}/scaling_cur_freq": read, f"{CPUFREQ}/scaling_max_freq": read})
    found: Discovery = frequency_sensors(tree)
    assert bool(found.sensors) is kept
    assert kept or f"reads {read}, which can't be a clock in kHz" in found.unavailable[0].reason
    assert bool(frequency_cap_sensors(tree).sensors) is kept
