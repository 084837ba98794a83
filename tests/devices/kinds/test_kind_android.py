"""A phone made of files and scripted dumpsys and getprop."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.access.connect import connect
from devices.errors import FileCause, FileError
from devices.inventory.entry import DeviceEntry
from devices.kinds.android import AndroidKind
from devices.sensors.battery import all_chargers
from devices.sensors.reading import Texts, Tree
from devices.sensors.spec import Discovery, Sensor
from tests.support.devices.made_files import MakeTree

BATTERY = "sys/class/power_supply/battery"
USB = "sys/class/power_supply/usb"
CPUS = "sys/devices/system/cpu"
GETPROP = """\
[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 8]
[ro.build.fingerprint]: [google/shiba/shiba:14/UQ1A/1:user/release-keys]
[ro.soc.manufacturer]: [Google]
[ro.soc.model]: [Tensor G3]
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[broken
"""
DUMPSYS_BATTERY = "Current Battery Service state:\n  AC powered: false\n  USB powered: {usb}\n  level: 80"
THERMAL = "IsStatusOverride: false\nThermal Status: {status}\nCached temperatures:\n  Temperature{{mValue=30.0}}"


def kind(**values: object) -> AndroidKind:
    return AndroidKind(
        DeviceEntry.model_validate({"name": "phone", "kind": "android", "transport": "local", "workdir": "/w"} | values)
    )


def program(tree: Tree, name: str, script: str) -> None:
    file = Path(tree.path("system/bin", name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def phone(make_tree: MakeTree, *, usb: str = "false", status: str = "0", **files: str) -> Tree:
    """Returns a discharging phone of 400 mA at 4 V; `files` are those of its battery."""
    gauge = {"type": "Battery", "status": "Discharging", "current_now": "-400000", "voltage_now": "4000000"} | files
    tree = make_tree({f"{BATTERY}/{name}": text for name, text in gauge.items()})
    service = (
        f"case $1 in battery) echo '{DUMPSYS_BATTERY.format(usb=usb)}' ;; "
        f"thermalservice) echo '{THERMAL.format(status=status)}' ;; *) exit 1 ;; esac"
    )
    program(tree, "dumpsys", service)
    program(tree, "getprop", f"cat << 'EOF'\n{GETPROP}EOF")
    return tree


def by_name(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors}


def gaps(found: Discovery) -> dict[str, str]:
    return {gap.name: f"{gap.reason}; {gap.remedy}" for gap in found.unavailable}


def milliwatts(tree: Tree, sensor: Sensor) -> float:
    times = float(tree.transport.read_text(sensor.times)) if sensor.times else 1.0
    return float(tree.transport.read_text(sensor.path)) * times * sensor.scale


def first_line(sensor: Sensor) -> str:
    assert sensor.command is not None
    with subprocess.Popen(sensor.command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            return next(line.rstrip("\n") for line in process.stdout if line.startswith(sensor.field or ""))
        finally:
            process.kill()


def test_the_gauge_is_the_total_within_what_a_phone_can_draw(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    sensor = by_name(kind().sensors(tree))["battery.battery"]
    assert milliwatts(tree, sensor) == pytest.approx(1600.0)
    assert sensor.total
    assert sensor.job_entry()["range"] == [200.0, 20000.0]


def test_scale_and_sign_of_the_inventory_correct_the_gauge(make_tree: MakeTree) -> None:
    # Milliamperes, positive while it discharges.
    tree = phone(make_tree, current_now="400")
    sensor = by_name(kind(power={"scale": 1000.0, "sign": 1}).sensors(tree))["battery.battery"]
    assert milliwatts(tree, sensor) == pytest.approx(1600.0)
    assert "times 1000" in sensor.method


@pytest.mark.parametrize("current", ["400", "0", "-999999999", "7e5", "0x61a80"])
def test_a_gauge_in_another_unit_is_unavailable_and_points_to_calibration(make_tree: MakeTree, current: str) -> None:
    found = kind().sensors(phone(make_tree, current_now=current))
    assert "battery.battery" not in by_name(found)
    assert "suite devices calibrate phone" in gaps(found)["battery.battery"]


@pytest.mark.parametrize("files", [
    {"current_now": "-2147483648"}, {"current_now": "2147483647"}, {"current_now": "-1"}, {"voltage_now": "65535"},
])  # fmt: skip
def test_a_sentinel_value_is_reported_as_one(make_tree: MakeTree, files: dict[str, str]) -> None:
    found = kind(power={"scale": 1000.0}).sensors(phone(make_tree, **files))
    assert "which means no value" in gaps(found)["battery.battery"]


def test_a_sign_that_is_wrong_for_this_battery_gives_no_power(make_tree: MakeTree) -> None:
    found = kind(power={"sign": 1}).sensors(phone(make_tree))
    assert "reads -1600 mW while discharging" in gaps(found)["battery.battery"]


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging"])
def test_a_phone_that_does_not_discharge_has_no_power(make_tree: MakeTree, status: str) -> None:
    tree = phone(make_tree)
    make_tree({f"{BATTERY}/status": status})
    gap = gaps(kind().sensors(tree))["battery.battery"]
    assert "its power is the device's only while it discharges; unplug the charger" in gap


def test_a_charger_that_is_online_spoils_a_discharging_gauge_too(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    make_tree({f"{USB}/type": "USB", f"{USB}/online": "1"})
    assert "a charger is plugged in (usb)" in gaps(kind().sensors(tree))["battery.battery"]
    checks = {check.name: check for check in kind().checks(tree)}
    assert (checks["charger"].status, "Wi-Fi" in checks["charger"].remedy) == ("warning", True)


def test_a_phone_that_is_on_wifi_already_only_has_to_be_unplugged(make_tree: MakeTree) -> None:
    (check, *_) = kind(host="phone.example", serial=None).checks(phone(make_tree, usb="true"))
    assert (check.name, check.status, check.remedy) == ("charger", "warning", "unplug the charger")


def test_a_charger_that_may_be_plugged_in_is_watched_through_the_kernel(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    make_tree({f"{USB}/type": "USB", f"{USB}/online": "0"})
    sensor = by_name(kind().sensors(tree))["charger.usb"]
    assert (sensor.quantity, sensor.path) == ("chargers", tree.path(f"{USB}/online"))


def test_a_charger_is_watched_through_the_battery_service_otherwise(make_tree: MakeTree) -> None:
    sensors = by_name(kind().sensors(phone(make_tree)))
    assert first_line(sensors["charger"]) == "0"
    plugged = kind().sensors(phone(make_tree, usb="true"))
    assert "a charger is plugged in (USB)" in gaps(plugged)["battery.battery"]


def test_files_that_the_shell_may_not_read_are_explained(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    for name in ("current_now", "voltage_now"):
        Path(tree.path(f"{BATTERY}/{name}")).unlink()
    gap = gaps(kind().sensors(tree))["battery.battery"]
    assert "neither power_now nor current_now with voltage_now that can be read" in gap
    assert "external meter" in gap


@dataclass(frozen=True)
class _Kept(Tree):
    """A tree whose batteries this user may not look at; root can't be refused for real."""

    def read(self, paths: Iterable[str]) -> Texts:
        texts = super().read(paths).by_path
        denied = FileError("read", "x", FileCause.DENIED)
        return Texts({path: denied if path.startswith(BATTERY) else text for path, text in texts.items()})


def test_a_battery_that_the_shell_may_not_look_at_is_named(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    gap = gaps(kind().sensors(_Kept(tree.transport, tree.root)))["battery"]
    assert "no system battery in /sys/class/power_supply that this user may read (battery may be one)" in gap
    assert "external meter" in gap


def test_a_folder_that_the_shell_may_not_list_is_explained(make_tree: MakeTree) -> None:
    gap = gaps(kind().sensors(make_tree({})))["battery"]
    assert "the shell can't list /sys/class/power_supply because it doesn't exist" in gap


@pytest.mark.parametrize(("status", "reason"), [
    ("0", None), ("1", "Android's thermal status is light (1)"), ("6", "Android's thermal status is shutdown (6)"),
    ("9", "Android's thermal status is 9 (9)"), ("", None), ("hot", None),
])  # fmt: skip
def test_a_thermal_status_above_none_is_throttling(make_tree: MakeTree, status: str, reason: str | None) -> None:
    assert kind().throttling(phone(make_tree, status=status)) == reason


def test_the_thermal_status_is_sampled_as_flags(make_tree: MakeTree) -> None:
    sensor = by_name(kind().sensors(phone(make_tree, status="2")))["thermal-status"]
    assert (sensor.quantity, first_line(sensor)) == ("throttle_flags", "Thermal Status: 2")


def test_a_phone_without_the_thermal_service_says_so(make_tree: MakeTree) -> None:
    assert "from Android 10 on" in gaps(kind().sensors(phone(make_tree, status="")))["thermal-status"]


def test_a_device_without_dumpsys_says_so(make_tree: MakeTree) -> None:
    assert "there is no dumpsys" in gaps(kind().sensors(make_tree({})))["thermal-status"]


def test_model_build_and_processor_come_from_getprop(make_tree: MakeTree) -> None:
    facts = kind().facts(phone(make_tree))
    assert facts.board == "Google Pixel 8"
    assert facts.os_build == "google/shiba/shiba:14/UQ1A/1:user/release-keys"
    assert facts.settings == {"soc": "Google Tensor G3", "android": "14", "sdk": "34"}


def test_a_new_build_changes_the_fingerprint(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    before = kind().facts(tree).fingerprint
    program(tree, "getprop", "echo '[ro.build.fingerprint]: [google/shiba:15]'")
    assert kind().facts(tree).fingerprint != before


def test_big_cores_are_those_that_are_not_the_slowest(make_tree: MakeTree) -> None:
    khz = ["1700000"] * 4 + ["2370000"] * 4 + ["2910000"]
    tree = make_tree({f"{CPUS}/cpu{n}/cpufreq/cpuinfo_max_freq": value for n, value in enumerate(khz)})
    assert kind().cpus(tree) == (4, 5, 6, 7, 8)
    checks = {check.name: check.detail for check in kind().checks(tree)}
    assert checks["big cores"] == "the runner is pinned to 4,5,6,7,8"


@pytest.mark.parametrize(("pinned", "cpus"), [(None, (1,)), ("0", (0,))])
def test_the_runner_is_pinned_to_the_big_cores_unless_the_inventory_names_some(
    make_tree: MakeTree, tmp_path: Path, pinned: str | None, cpus: tuple[int, ...]
) -> None:
    tree = make_tree({f"{CPUS}/cpu{n}/cpufreq/cpuinfo_max_freq": khz for n, khz in enumerate(("1000", "2000"))})
    entry = kind(workdir=str(tmp_path / "w"), **({} if pinned is None else {"cpus": pinned})).entry
    with connect(entry, tmp_path / "locks", root=tree.root) as device:
        assert device.entry.cpus == cpus


@pytest.mark.parametrize("khz", [["1800000"] * 4, ["", "garbage"], []])
def test_cores_that_are_alike_or_unknown_are_not_pinned(make_tree: MakeTree, khz: list[str]) -> None:
    tree = make_tree({f"{CPUS}/cpu{n}/cpufreq/cpuinfo_max_freq": value for n, value in enumerate(khz)})
    assert kind().cpus(tree) is None


def test_rails_of_the_power_monitor_are_counters_without_a_total(make_tree: MakeTree) -> None:
    device = "sys/bus/iio/devices/iio:device0"
    rails = "t=1\nCH0(T=1234)[S4M_VDD_CPUCL0], 5678\nCH1(T=1234)[VSYS_PWR_DISPLAY], 99\nCH2(T=9)[bad rail], 1\n"
    tree = make_tree({f"{device}/name": "s2mpg10-odpm", f"{device}/energy_value": rails})
    sensor = by_name(kind().sensors(tree))["odpm.S4M_VDD_CPUCL0"]
    assert (sensor.quantity, sensor.form, sensor.total) == ("energy_mj", "counter", False)
    assert first_line(sensor) == "5678"
    assert [name for name in by_name(kind().sensors(tree)) if name.startswith("odpm")] == ["odpm.S4M_VDD_CPUCL0"]


STOPPED = (
    "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n  AC powered: false\n"
    "  USB powered: false\n  status: 3\n  level: 80\n  scale: 100\n  temperature: 250"
)


def by_hand(make_tree: MakeTree, battery: str, heat: str) -> Tree:
    """Returns a phone whose kernel shows no power supply, with these outputs of its services."""
    tree = make_tree({})
    for name, text in (("battery", battery), ("heat", heat)):
        Path(tree.path(name)).write_text(text)
    program(tree, "dumpsys", f"case $1 in battery) cat {tree.path('battery')} ;; *) cat {tree.path('heat')} ;; esac")
    return tree


def test_what_a_stopped_battery_service_shows_is_unknown(make_tree: MakeTree) -> None:
    tree = by_hand(make_tree, STOPPED, THERMAL.format(status="0"))
    facts = kind().facts(tree)
    assert (facts.battery_percent, facts.charger_plugged) == (None, None)
    (charger, *_) = kind().checks(tree)
    assert charger.status == "warning"
    assert "unknown: dumpsys battery shows values that were set by hand (UPDATES STOPPED)" in charger.detail
    assert "dumpsys battery reset" in charger.remedy


def test_chargers_that_the_kernel_shows_count_although_the_service_is_stopped(make_tree: MakeTree) -> None:
    tree = phone(make_tree)
    program(tree, "dumpsys", f"cat << 'EOF'\n{STOPPED}\nEOF")
    for name, text in (("type", "USB"), ("online", "1")):
        Path(tree.path(USB)).mkdir(exist_ok=True)
        Path(tree.path(USB, name)).write_text(text)
    assert kind().facts(tree).charger_plugged is True


def test_a_service_that_is_stopped_while_it_is_watched_ends_the_watch_with_the_reason(make_tree: MakeTree) -> None:
    tree = by_hand(make_tree, DUMPSYS_BATTERY.format(usb="true"), THERMAL.format(status="0"))
    (sensor,) = all_chargers(tree).sensors.sensors
    assert first_line(sensor) == "1"
    Path(tree.path("battery")).write_text(STOPPED)
    assert sensor.command is not None
    ended = subprocess.run(sensor.command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "UPDATES STOPPED" in ended.stderr


def test_a_battery_service_without_chargers_does_not_say_that_none_is_plugged_in(make_tree: MakeTree) -> None:
    tree = by_hand(make_tree, "Can't find service: battery", THERMAL.format(status="0"))
    (charger, *_) = kind().checks(tree)
    assert charger.status == "warning"
    assert "no line about chargers" in charger.detail


def test_a_thermal_status_that_was_set_by_hand_is_unknown(make_tree: MakeTree) -> None:
    heat = THERMAL.format(status="0").replace("IsStatusOverride: false", "IsStatusOverride: true")
    tree = by_hand(make_tree, DUMPSYS_BATTERY.format(usb="false"), heat)
    assert kind().throttling(tree) is None
    assert "set by hand" in gaps(kind().sensors(tree))["thermal-status"]
    (_, check, _) = kind().checks(tree)
    assert check.status == "warning"
    assert "cmd thermalservice reset" in check.remedy
