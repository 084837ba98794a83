"""Several supplies of one battery are counted once, several batteries are added up, and in doubt there is no number."""

from __future__ import annotations

import pytest

from devices.inventory.entry import DeviceEntry, PowerSource
from devices.kinds.android import AndroidKind
from devices.sensors.battery import Gauge, battery_sensors, raw_gauges
from devices.sensors.linux_host import linux_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery
from tests.support.devices.made_files import MakeTree

SUPPLIES = "sys/class/power_supply"


def supply(name: str, current: int | None = None, voltage: int = 3_942_000, **files: str) -> dict[str, str]:
    read = {"type": "Battery", "status": "Discharging", "voltage_now": str(voltage)}
    if current is not None:
        read["current_now"] = str(current)
    return {f"{SUPPLIES}/{name}/{file}": text for file, text in (read | files).items()}


PIXEL = supply("battery", -350_000) | supply("maxfg", -350_000)


def total_mw(tree: Tree, found: Discovery) -> float:
    def first(path: str) -> float:
        return float(tree.transport.read_text(path).split()[0])

    return sum(
        first(one.path) * (first(one.times) if one.times else 1.0) * one.scale for one in found.sensors if one.total
    )


def android(tree: Tree, **power: object) -> Discovery:
    values = {"name": "phone", "kind": "android", "transport": "local", "workdir": "/w", "power": power or None}
    return AndroidKind(DeviceEntry.model_validate(values)).sensors(tree)


@pytest.mark.parametrize(
    "second",
    [
        supply("maxfg", -350_000),
        supply("maxfg", 352_800, 3_941_250),  # positive while it discharges, read a moment later
        supply("bms", -338_000, 3_960_000, serial_number="", capacity="79"),
        supply("bq27541", power_now="1391000"),
        supply("max170xx_battery", -140_000),  # the load changed between the two
        supply("axp20x-battery", -345_000),
        supply("maxfg", -350_000, serial_number="00000000"),
    ],
)
def test_a_second_gauge_of_one_cell_is_kept_beside_the_total(make_tree: MakeTree, second: dict[str, str]) -> None:
    tree = make_tree(supply("battery", -350_000, capacity="81", serial_number="4B07") | second)
    for found in (battery_sensors(tree), android(tree)):
        assert total_mw(tree, found) == pytest.approx(1379.7)
        powers = [sensor for sensor in found.sensors if sensor.quantity == "power_mw"]
        assert [sensor.name for sensor in powers if sensor.total] == ["battery.battery"]
        (beside,) = (sensor for sensor in powers if not sensor.total)
        assert "measures the same as battery" in beside.method
    assert [gauge.supply for gauge in raw_gauges(tree)] == ["battery"]


@pytest.mark.parametrize(
    ("second", "whole_mw"),
    [
        (supply("BAT1", 900_000, 11_100_000), 12_000 + 9_990),
        (supply("BAT1", 1_000_000, 12_000_000), 24_000),  # firmware shows a supply for each battery
        (supply("sbs-5-000b", 1_000_000, 12_000_000, serial_number="5081"), 24_000),
        (supply("sbs-5-000b", 1_000_000, 12_000_000, capacity="35"), 24_000),
        (supply("sbs-5-000b", 1_000_000, 12_000_000, charge_full="3000000"), 24_000),
        (supply("sbs-5-000b", 1_000_000, 11_500_000), 12_000 + 11_500),
        (supply("sbs-5-000b", 200_000, 12_000_000), 12_000 + 2_400),
    ],
)
def test_two_batteries_are_added_up(make_tree: MakeTree, second: dict[str, str], whole_mw: float) -> None:
    first = supply(
        "BAT0", 1_000_000, 12_000_000, serial_number="5080", capacity="81", charge_full="5000000", model_name="X1"
    )
    tree = make_tree(first | second)
    assert total_mw(tree, linux_sensors(tree)) == pytest.approx(whole_mw)
    assert len(raw_gauges(tree)) == 2


def test_a_supply_that_is_the_sum_of_two_cells_is_the_total_alone(make_tree: MakeTree) -> None:
    cells = supply("maxfg_base", -210_000) | supply("maxfg_flip", -190_000)
    tree = make_tree(cells | supply("battery", -400_000) | supply("dualbatt", -402_000))
    found = battery_sensors(tree)
    assert total_mw(tree, found) == pytest.approx(400 * 3.942)
    assert len(found.sensors) == 4


def test_a_pair_in_doubt_has_no_total_until_the_inventory_names_one(make_tree: MakeTree) -> None:
    tree = make_tree(supply("battery", -350_000) | supply("axp20x-battery", -280_000))
    found = linux_sensors(tree)
    assert not any(sensor.total for sensor in found.sensors)
    (gap,) = (gap for gap in found.unavailable if gap.name == "power")
    assert "battery and axp20x-battery may be two gauges of one battery" in gap.reason
    assert "power.sensor in the inventory (battery.battery)" in (gap.remedy or "")
    named = linux_sensors(tree, PowerSource(sensor="battery.battery"))
    assert total_mw(tree, named) == pytest.approx(1379.7)


def test_of_two_gauges_the_one_that_can_be_read_is_the_total(make_tree: MakeTree) -> None:
    tree = make_tree(supply("battery", -2_147_483_648) | supply("maxfg", -350_000))
    assert total_mw(tree, battery_sensors(tree)) == pytest.approx(1379.7)


def test_a_gauge_that_shows_one_of_two_cells_is_set_right_by_a_factor(make_tree: MakeTree) -> None:
    tree = make_tree(supply("battery", -175_000) | supply("bms", -175_000))
    assert total_mw(tree, battery_sensors(tree, Gauge(scale=2.0, sign=-1))) == pytest.approx(1379.7)
    assert total_mw(tree, android(tree, scale=2)) == pytest.approx(1379.7)
