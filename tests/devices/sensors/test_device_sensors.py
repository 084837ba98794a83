"""Finding sensors in copies of /proc and /sys: what is there is right, what isn't has its reason."""

from __future__ import annotations

import pytest

from devices.inventory.entry import PowerSource
from devices.sensors.battery import battery_sensors
from devices.sensors.linux_host import (
    frequency_cap_sensors,
    frequency_sensors,
    linux_sensors,
    memory_sensors,
    throttle_sensors,
)
from devices.sensors.power_counters import hwmon_sensors, rapl_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery, Sensor
from devices.sensors.thermal import thermal_sensors
from devices.transports.local.transport import LocalTransport
from tests.support.devices.made_files import MakeTree

STATUS = "Name:\trunner\nVmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\nVmSwap:\t       0 kB\n"
ZONE = "sys/class/thermal/thermal_zone"
RAPL = "sys/class/powercap/intel-rapl"
BATTERY = "sys/class/power_supply/BAT0"
CPUS = "sys/devices/system/cpu"


def by_name(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors}


def reasons(found: Discovery) -> dict[str, str]:
    return {gap.name: gap.reason for gap in found.unavailable}


def sample(tree: Tree, sensor: Sensor) -> float:
    """Returns a sample as the contract defines it: first number of the file or line, times the other, times scale."""

    def first(path: str) -> float:
        lines = tree.transport.read_text(path).splitlines()
        line = next(line for line in lines if sensor.field is None or line.startswith(sensor.field))
        words = line.removeprefix(sensor.field or "").strip(" \t:").split()
        return float(words[0])

    return first(sensor.path) * (first(sensor.times) if sensor.times else 1.0) * sensor.scale


def test_a_job_entry_has_exactly_the_keys_of_the_contract() -> None:
    plain = Sensor("cpu", "temperature_mc", "/sys/temp", 1.0, 1.0, "zone")
    assert plain.job_entry() == {
        "name": "cpu",
        "quantity": "temperature_mc",
        "path": "/sys/temp",
        "scale": 1.0,
        "rate_hz": 1.0,
    }
    rail = Sensor("rail", "power_mw", "/in", 0.001, 10.0, "rail", field="V", times="/curr", total=True)
    assert set(rail.job_entry()) == {"name", "quantity", "path", "field", "times", "scale", "rate_hz"}


def test_memory_of_this_process_is_read_from_the_real_kernel(transport: LocalTransport) -> None:
    tree = Tree(transport)
    sensors = by_name(memory_sensors(tree))
    assert set(sensors) == {"memory.rss", "memory.hwm", "memory.swap"}
    # The kernel counts a thread's pages in batches, so the two may differ by some pages.
    assert 0 < sample(tree, sensors["memory.rss"]) <= 1.05 * sample(tree, sensors["memory.hwm"])


def test_memory_fields_a_kernel_lacks_are_unavailable(make_tree: MakeTree) -> None:
    found = memory_sensors(make_tree({"proc/self/status": STATUS.replace("VmSwap:\t       0 kB\n", "")}))
    assert set(by_name(found)) == {"memory.rss", "memory.hwm"}
    assert reasons(found) == {"memory.swap": "/proc/self/status has no line VmSwap"}


def test_no_proc_means_no_memory(make_tree: MakeTree) -> None:
    found = memory_sensors(make_tree({}))
    assert not found.sensors
    assert "doesn't exist" in reasons(found)["memory.rss"]


def test_thermal_zones_are_known_by_type_whatever_their_number(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            f"{ZONE}10/type": "gpu-thermal\n",
            f"{ZONE}10/temp": "41000\n",
            f"{ZONE}2/type": "cpu-thermal\n",
            f"{ZONE}2/temp": "45500\n",
            "sys/class/thermal/cooling_device0/type": "Processor\n",
        }
    )
    sensors = by_name(thermal_sensors(tree))
    assert list(sensors) == ["cpu-thermal", "gpu-thermal"]
    assert {name: sample(tree, sensor) for name, sensor in sensors.items()} == {
        "cpu-thermal": 45500,
        "gpu-thermal": 41000,
    }


def test_zones_of_the_same_type_stay_apart(make_tree: MakeTree) -> None:
    files = {f"{ZONE}{n}/type": "acpitz" for n in (0, 1)} | {f"{ZONE}{n}/temp": "30000" for n in (0, 1)}
    assert list(by_name(thermal_sensors(make_tree(files)))) == ["acpitz", "acpitz.2"]


@pytest.mark.parametrize("temp", ["-256000", "-273150", "255000000", "", "garbage", "nan", "1e5", "0x10"])
def test_a_zone_without_a_plausible_number_is_unavailable(make_tree: MakeTree, temp: str) -> None:
    found = thermal_sensors(make_tree({f"{ZONE}0/type": "cpu", f"{ZONE}0/temp": temp}))
    assert not found.sensors
    assert "/sys/class/thermal/thermal_zone0/temp" in reasons(found)["cpu"]


def test_the_limit_is_the_lowest_trip_point_that_acts(make_tree: MakeTree) -> None:
    trips = [("active", "40000"), ("critical", "110000"), ("passive", "95000"), ("hot", "0"), ("passive", "broken")]
    files = {f"{ZONE}0/type": "cpu", f"{ZONE}0/temp": "30000"}
    for number, (kind, temp) in enumerate(trips):
        files |= {f"{ZONE}0/trip_point_{number}_type": kind, f"{ZONE}0/trip_point_{number}_temp": temp}
    (sensor,) = thermal_sensors(make_tree(files)).sensors
    assert sensor.limit == 95000


def test_a_zones_type_cannot_break_names(make_tree: MakeTree) -> None:
    found = thermal_sensors(make_tree({f"{ZONE}0/type": '\x1b[2J"cpu\n', f"{ZONE}0/temp": "30000"}))
    assert [sensor.name for sensor in found.sensors] == ["2J-cpu"]


def rapl_domain(number: str, name: str, energy: str = "5000000", wrap: str = "262143328850") -> dict[str, str]:
    folder = f"{RAPL}:{number}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": energy, f"{folder}/max_energy_range_uj": wrap}


def test_rapl_counts_millijoules_and_says_where_it_wraps(make_tree: MakeTree) -> None:
    tree = make_tree(rapl_domain("0", "package-0") | rapl_domain("0:0", "core") | {f"{RAPL}/enabled": "1"})
    sensors = by_name(rapl_sensors(tree))
    assert list(sensors) == ["rapl.package-0", "rapl.package-0.core"]
    package = sensors["rapl.package-0"]
    assert (package.quantity, package.form) == ("energy_mj", "counter")
    assert sample(tree, package) == pytest.approx(5000.0)
    assert package.counter_range == pytest.approx(262143328.850)


def test_rapl_packages_are_the_total_and_their_parts_are_not(make_tree: MakeTree) -> None:
    files = rapl_domain("0", "package-0") | rapl_domain("0:0", "core") | rapl_domain("1", "package-1")
    found = rapl_sensors(make_tree(files))
    assert [sensor.name for sensor in found.sensors if sensor.total] == ["rapl.package-0", "rapl.package-1"]


def test_rapl_platform_counter_is_the_total_where_there_is_one(make_tree: MakeTree) -> None:
    found = rapl_sensors(make_tree(rapl_domain("0", "package-0") | rapl_domain("1", "psys")))
    assert [sensor.name for sensor in found.sensors if sensor.total] == ["rapl.psys"]


def test_rapl_has_no_total_when_a_package_is_missing_from_it(make_tree: MakeTree) -> None:
    found = rapl_sensors(make_tree(rapl_domain("0", "package-0") | rapl_domain("1", "package-1", energy="")))
    assert [sensor.name for sensor in found.sensors] == ["rapl.package-0"]
    assert not found.sensors[0].total
    assert "contains no number" in reasons(found)["rapl.package-1"]


def test_rapl_without_its_range_is_unavailable_as_a_wrap_could_not_be_noticed(make_tree: MakeTree) -> None:
    found = rapl_sensors(make_tree(rapl_domain("0", "package-0", wrap="0")))
    assert not found.sensors
    assert "max_energy_range_uj reads 0" in reasons(found)["rapl.package-0"]


def test_unreadable_rapl_says_how_to_fix_it(make_tree: MakeTree) -> None:
    tree = make_tree({f"{RAPL}:0/name": "package-0"})
    (gap,) = rapl_sensors(tree).unavailable
    assert gap.name == "rapl.package-0"
    assert "can't be read" in gap.reason
    assert "as root" in (gap.remedy or "")


def test_rapl_through_mmio_does_not_count_the_package_twice(make_tree: MakeTree) -> None:
    mmio = {path.replace("intel-rapl", "intel-rapl-mmio"): text for path, text in rapl_domain("0", "package-0").items()}
    (alone,) = rapl_sensors(make_tree(mmio)).sensors
    assert "intel-rapl-mmio" in alone.path
    (both,) = rapl_sensors(make_tree(rapl_domain("0", "package-0"))).sensors
    assert "intel-rapl-mmio" not in both.path


def battery(**files: str) -> dict[str, str]:
    return {f"{BATTERY}/{name}": text for name, text in ({"type": "Battery", "status": "Discharging"} | files).items()}


def test_battery_power_is_in_milliwatts_and_the_total(make_tree: MakeTree) -> None:
    tree = make_tree(battery(power_now="7500000"))
    (sensor,) = battery_sensors(tree).sensors
    assert (sensor.name, sensor.quantity, sensor.total) == ("battery.BAT0", "power_mw", True)
    assert sample(tree, sensor) == pytest.approx(7500.0)


@pytest.mark.parametrize("current", ["500000", "-500000"])
def test_battery_power_from_current_and_voltage_has_the_drivers_sign_undone(make_tree: MakeTree, current: str) -> None:
    tree = make_tree(battery(current_now=current, voltage_now="12000000"))
    (sensor,) = battery_sensors(tree).sensors
    assert sample(tree, sensor) == pytest.approx(6000.0)
    assert ("sign reversed" in sensor.method) == current.startswith("-")


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown", ""])
def test_a_battery_that_does_not_discharge_has_no_power(make_tree: MakeTree, status: str) -> None:
    found = battery_sensors(make_tree(battery(power_now="7500000", status=status)))
    assert not found.sensors
    (gap,) = found.unavailable
    assert "only while it discharges" in gap.reason
    assert gap.remedy == "unplug the charger"


@pytest.mark.parametrize("power", ["0", "7", "900000000000"])
def test_an_implausible_battery_gauge_is_unavailable(make_tree: MakeTree, power: str) -> None:
    found = battery_sensors(make_tree(battery(power_now=power)))
    assert not found.sensors
    assert "outside 50 to 500000" in reasons(found)["battery.BAT0"]


def test_a_battery_without_a_gauge_is_unavailable(make_tree: MakeTree) -> None:
    assert (
        "neither power_now nor" in reasons(battery_sensors(make_tree(battery(voltage_now="12000000"))))["battery.BAT0"]
    )


def test_the_battery_of_a_mouse_is_not_the_devices(make_tree: MakeTree) -> None:
    found = battery_sensors(make_tree(battery(power_now="7500000", scope="Device")))
    assert reasons(found) == {"battery": "no system battery in /sys/class/power_supply"}


def test_an_absent_battery_says_so(make_tree: MakeTree) -> None:
    assert (
        "is not installed" in reasons(battery_sensors(make_tree(battery(power_now="1", present="0"))))["battery.BAT0"]
    )


def test_the_battery_is_the_total_and_rapl_is_not_added_to_it(make_tree: MakeTree) -> None:
    found = linux_sensors(make_tree(battery(power_now="7500000") | rapl_domain("0", "package-0")))
    assert [sensor.name for sensor in found.sensors if sensor.total] == ["battery.BAT0"]
    assert "rapl.package-0" in by_name(found)


def test_frequency_of_each_policy(make_tree: MakeTree) -> None:
    files = {
        f"{CPUS}/cpufreq/policy{n}/scaling_cur_freq": khz for n, khz in ((0, "1800000"), (4, "2400000"), (10, "0"))
    }
    tree = make_tree(files)
    found = frequency_sensors(tree)
    sensors = by_name(found)
    assert [sample(tree, sensor) for sensor in sensors.values()] == [1800000, 2400000]
    assert list(sensors) == ["cpu-frequency.policy0", "cpu-frequency.policy4"]
    assert list(reasons(found)) == ["cpu-frequency.policy10"]


def test_hyperthreads_share_the_throttle_counter_of_their_core(make_tree: MakeTree) -> None:
    files: dict[str, str] = {}
    for cpu, core in enumerate((0, 1, 0, 1)):
        files |= {f"{CPUS}/cpu{cpu}/topology/physical_package_id": "0", f"{CPUS}/cpu{cpu}/topology/core_id": str(core)}
        files |= {f"{CPUS}/cpu{cpu}/thermal_throttle/{scope}_throttle_count": "3" for scope in ("core", "package")}
    sensors = throttle_sensors(make_tree(files)).sensors
    assert [sensor.name for sensor in sensors] == [
        "throttle.package0.core0",
        "throttle.package0",
        "throttle.package0.core1",
    ]
    assert {(sensor.form, sensor.counter_range) for sensor in sensors} == {("counter", None)}


def test_a_cap_on_the_clock_is_sampled_where_there_is_one(make_tree: MakeTree) -> None:
    tree = make_tree({f"{CPUS}/cpufreq/policy0/scaling_max_freq": "1500000"})
    (sensor,) = frequency_cap_sensors(tree).sensors
    assert (sensor.quantity, sample(tree, sensor)) == ("frequency_cap_khz", 1500000)


def monitor(number: int, name: str, **files: str) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    return {f"{folder}/name": name} | {f"{folder}/{file}": text for file, text in files.items()}


def test_hardware_monitors_give_milliwatts_and_millijoules_and_no_total(make_tree: MakeTree) -> None:
    tree = make_tree(
        monitor(0, "ina226", power1_input="2500000", power1_label="5V rail")
        | monitor(1, "scmi", energy1_input="7000000")
        | monitor(2, "amdgpu", power1_average="1000000", temp1_input="40000")
    )
    sensors = by_name(hwmon_sensors(tree))
    assert {name: sample(tree, sensor) for name, sensor in sensors.items()} == {
        "hwmon.ina226.5V-rail": 2500,
        "hwmon.scmi.energy1": 7000,
        "hwmon.amdgpu.power1": 1000,
    }
    assert sensors["hwmon.scmi.energy1"].quantity == "energy_mj"
    assert not any(sensor.total for sensor in sensors.values())


def test_a_hardware_monitor_without_a_number_is_not_a_sensor(make_tree: MakeTree) -> None:
    assert not hwmon_sensors(make_tree(monitor(0, "ina226", power1_input="N/A"))).sensors


def test_the_monitor_of_a_battery_is_left_to_the_battery(make_tree: MakeTree) -> None:
    found = linux_sensors(make_tree(battery(power_now="7500000") | monitor(0, "BAT0", power1_input="7500000")))
    assert [sensor.name for sensor in found.sensors if sensor.quantity == "power_mw"] == ["battery.BAT0"]


def test_the_inventory_names_which_monitor_measures_the_whole_device(make_tree: MakeTree) -> None:
    tree = make_tree(monitor(0, "ina226", power1_input="2500000") | rapl_domain("0", "package-0"))
    found = linux_sensors(tree, PowerSource(sensor="hwmon.ina226.power1", scale=2.0, sign=-1))
    (total,) = (sensor for sensor in found.sensors if sensor.total)
    assert (total.name, sample(tree, total)) == ("hwmon.ina226.power1", -5000)


def test_a_charger_beside_a_discharging_battery_makes_its_power_unavailable(make_tree: MakeTree) -> None:
    charger = {"sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "1"}
    found = linux_sensors(make_tree(battery(power_now="7500000") | charger))
    assert "a charger is plugged in (AC)" in reasons(found)["battery.BAT0"]


def test_a_charger_is_watched_only_where_the_battery_is_the_power(make_tree: MakeTree) -> None:
    charger = {"sys/class/power_supply/AC/type": "Mains", "sys/class/power_supply/AC/online": "0"}
    assert "charger.AC" not in by_name(linux_sensors(make_tree(charger)))
    sensor = by_name(linux_sensors(make_tree(battery(power_now="7500000"))))["charger.AC"]
    assert (sensor.quantity, sensor.form) == ("chargers", "gauge")


def test_a_program_sensors_job_entry_has_the_command_and_no_path() -> None:
    sensor = Sensor("p", "power_mw", "", 1e3, 2.0, "m", field="total", command=("sh", "-c", "x"), plausible=(1.0, 2.0))
    assert sensor.job_entry() == {
        "name": "p",
        "quantity": "power_mw",
        "command": ["sh", "-c", "x"],
        "field": "total",
        "scale": 1e3,
        "rate_hz": 2.0,
        "range": [1.0, 2.0],
    }


def test_a_device_without_a_total_names_the_meter_as_the_remedy_unless_it_has_one(make_tree: MakeTree) -> None:
    tree = make_tree(monitor(0, "ina226", power1_input="2500000"))
    (gap,) = (gap for gap in linux_sensors(tree).unavailable if gap.name == "power")
    assert "external meter" in (gap.remedy or "")
    (gap,) = (gap for gap in linux_sensors(tree, PowerSource(command=("m",))).unavailable if gap.name == "power")
    assert gap.remedy is None


def test_with_a_meter_no_sensor_of_the_device_is_its_total(make_tree: MakeTree) -> None:
    found = linux_sensors(make_tree(battery(power_now="7500000")), PowerSource(command=("meter",)))
    assert "battery.BAT0" in by_name(found)
    assert not any(sensor.total for sensor in found.sensors)


def test_a_bare_device_gives_a_reason_for_every_quantity_and_no_number(make_tree: MakeTree) -> None:
    found = linux_sensors(make_tree({}))
    assert not found.sensors
    quantities = {"memory_kib", "temperature_mc", "power_mw", "energy_mj", "frequency_khz", "throttle_events"}
    assert {gap.quantity for gap in found.unavailable} == quantities
    assert all(gap.reason for gap in found.unavailable)


def test_sensors_of_this_machine_can_be_sampled_as_the_contract_says(transport: LocalTransport) -> None:
    tree = Tree(transport)
    found = linux_sensors(tree)
    assert len(by_name(found)) == len(found.sensors)
    for sensor in found.sensors:
        sample(tree, sensor)
