"""The charge of a device's battery, and its charger: state of the device, and no part of what identifies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.checks.facts import read_facts
from devices.inventory.entry import DeviceEntry
from devices.kinds.android import AndroidKind
from devices.sensors.battery import charge_of_android
from tests.support.devices.made_files import MakeTree

SUPPLIES = "sys/class/power_supply"
DUMPSYS = "Current Battery Service state:\n  USB powered: false\n  level: {level}\n  scale: {scale}\n  voltage: 4000"


def supply(name: str, **files: str) -> dict[str, str]:
    return {f"{SUPPLIES}/{name}/{file}": text for file, text in files.items()}


def test_charge_is_that_of_the_devices_own_battery(make_tree: MakeTree) -> None:
    files = supply("BAT0", type="Battery\n", capacity="81\n")
    files |= supply("AC", type="Mains", online="1") | supply("mouse", type="Battery", scope="Device", capacity="4")
    assert read_facts(make_tree(files)).battery_percent == 81.0


def test_of_two_batteries_the_lower_charge_counts_and_an_absent_one_does_not(make_tree: MakeTree) -> None:
    files = supply("BAT0", type="Battery", capacity="81") | supply("BAT1", type="Battery", capacity="34")
    files |= supply("BAT2", type="Battery", present="0", capacity="0")
    assert read_facts(make_tree(files)).battery_percent == 34.0


@pytest.mark.parametrize("capacity", ["", "-1", "101", "65535", "full"])
def test_a_gauge_without_a_value_reports_no_charge(make_tree: MakeTree, capacity: str) -> None:
    assert read_facts(make_tree(supply("BAT0", type="Battery", capacity=capacity))).battery_percent is None


def test_a_device_without_a_battery_reports_no_charge(make_tree: MakeTree) -> None:
    assert read_facts(make_tree({})).as_document()["battery_percent"] is None


def test_charge_does_not_identify_a_device(make_tree: MakeTree) -> None:
    full, low = (read_facts(make_tree(supply("BAT0", type="Battery", capacity=text))) for text in ("100", "7"))
    assert full.battery_percent != low.battery_percent and full.fingerprint == low.fingerprint


@pytest.mark.parametrize("powered", ["true", "false"])
def test_a_phone_that_hides_the_kernels_files_is_read_through_its_battery_service(
    make_tree: MakeTree, powered: str
) -> None:
    tree = make_tree({})
    program = Path(tree.path("system/bin/dumpsys"))
    program.parent.mkdir(parents=True, exist_ok=True)
    output = DUMPSYS.format(level=63, scale=100).replace("false", powered)
    program.write_text(f"#!/bin/sh\ncat << 'EOF'\n{output}\nEOF\n", encoding="utf-8")
    program.chmod(0o755)
    entry = DeviceEntry.model_validate({"name": "phone", "kind": "android", "transport": "local", "workdir": "/w"})
    facts = AndroidKind(entry).facts(tree)
    assert (facts.battery_percent, facts.charger_plugged) == (63.0, powered == "true")


@pytest.mark.parametrize(
    ("level", "scale", "charge"),
    [
        *[("50", "200", 25.0), ("0", "100", 0.0)],
        *[("50", "0", None), ("120", "100", None), ("9" * 5000, "100", None), ("x", "100", None)],
    ],
)
def test_charge_is_the_level_of_its_scale_and_nonsense_is_none(level: str, scale: str, charge: float | None) -> None:
    assert charge_of_android(DUMPSYS.format(level=level, scale=scale)) == charge


@pytest.mark.parametrize(
    ("supplies", "plugged"),
    [
        (supply("BAT0", type="Battery", capacity="81") | supply("AC", type="Mains", online="1"), True),
        (supply("BAT0", type="Battery", capacity="81") | supply("usb", type="USB", online="0"), False),
        (supply("BAT0", type="Battery", capacity="81"), None),
        (supply("port", type="USB", online="1"), None),  # a board that is fed through it
    ],
)
def test_a_charger_is_reported_for_devices_with_a_battery(
    make_tree: MakeTree, supplies: dict[str, str], plugged: bool | None
) -> None:
    facts = read_facts(make_tree(supplies))
    assert facts.charger_plugged is plugged
    assert facts.fingerprint == read_facts(make_tree({})).fingerprint


GAUGE = {
    "type": "Battery",
    "status": "Discharging",
    "capacity": "80",
    "voltage_now": "4000000",
    "current_now": "500000",
}


@pytest.mark.parametrize(
    ("files", "mwh"),
    [
        ({"charge_full": "4500000"}, 18_000.0),
        ({"charge_full": "4500000", "energy_full": "17500000"}, 17_500.0),
        ({}, None),
        ({"charge_full": "4500"}, None),  # milliampere-hours, against the documented unit
    ],
)
def test_what_a_full_battery_holds_is_its_energy_or_its_charge_at_its_voltage(
    make_tree: MakeTree, files: dict[str, str], mwh: float | None
) -> None:
    assert read_facts(make_tree(supply("battery", **GAUGE, **files))).battery_mwh == mwh


@pytest.mark.parametrize(("second", "mwh"), [({"energy_full": "15000000"}, 35_000.0), ({}, None)])
def test_two_batteries_hold_their_sum_if_both_are_known(
    make_tree: MakeTree, second: dict[str, str], mwh: float | None
) -> None:
    shared = {"type": "Battery", "capacity": "50"}
    files = supply("BAT0", **shared, serial_number="1", power_now="5000000", energy_full="20000000")
    files |= supply("BAT1", **shared, serial_number="2", power_now="0", **second)
    assert read_facts(make_tree(files)).battery_mwh == mwh
