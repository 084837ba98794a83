"""A survey of a device returns what each question by itself would, in a few round trips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from devices.errors import FileError
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import KINDS, Kind
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from devices.transports.transport import Result
from tests.support.devices.made_files import MakeTree

CPUS = "sys/devices/system/cpu"
SUPPLIES = "sys/class/power_supply"
CPUINFO = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nprocessor\t: 1\n"
FILES = {
    "proc/self/status": "VmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\nVmSwap:\t       0 kB\n",
    "proc/cpuinfo": CPUINFO,
    "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B",
    "sys/class/thermal/thermal_zone0/type": "cpu",
    "sys/class/thermal/thermal_zone0/temp": "45000",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "85000",
    f"{SUPPLIES}/BAT0/type": "Battery",
    f"{SUPPLIES}/BAT0/status": "Discharging",
    f"{SUPPLIES}/BAT0/power_now": "9000000",
    f"{SUPPLIES}/BAT0/capacity": "80",
    f"{SUPPLIES}/AC/type": "Mains",
    f"{SUPPLIES}/AC/online": "0",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/hwmon/hwmon2/name": "ina238",
    "sys/class/hwmon/hwmon2/power1_input": "12000000",
    f"{CPUS}/online": "0-1",
    f"{CPUS}/present": "0-1",
    f"{CPUS}/cpu0/thermal_throttle/core_throttle_count": "0",
    f"{CPUS}/cpufreq/policy0/scaling_governor": "performance",
    f"{CPUS}/cpufreq/policy0/scaling_cur_freq": "1800000",
    f"{CPUS}/cpufreq/policy0/scaling_max_freq": "1800000",
    f"{CPUS}/cpufreq/policy0/cpuinfo_max_freq": "1800000",
    "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label": "VDD_IN",
    "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_input": "5000",
    "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input": "1000",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_GPU",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "500",
}


class Counting(LocalTransport):
    """The local transport, counting what would be a round trip of another."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[str] = []

    def run(self, argv: Sequence[str], *, timeout_s: float, cwd: str | None = None) -> Result:
        self.trips.append(argv[0])
        return super().run(argv, timeout_s=timeout_s, cwd=cwd)

    def list_dir(self, path: str, *, timeout_s: float = 30.0) -> tuple[str, ...]:
        self.trips.append("list_dir")
        return super().list_dir(path, timeout_s=timeout_s)

    def list_dirs(self, paths: Sequence[str], *, timeout_s: float = 30.0) -> Mapping[str, tuple[str, ...]]:
        trips = [*self.trips, "list_dirs"]
        found = super().list_dirs(paths, timeout_s=timeout_s)
        self.trips = trips  # without what it has called in turn
        return found

    def read_texts(self, paths: Sequence[str], *, timeout_s: float = 30.0) -> Mapping[str, str | FileError]:
        self.trips.append("read_texts")
        return super().read_texts(paths, timeout_s=timeout_s)

    def existing(self, paths: Sequence[str], *, timeout_s: float = 30.0) -> frozenset[str]:
        self.trips.append("existing")
        return super().existing(paths, timeout_s=timeout_s)


def counted(tree: Tree) -> tuple[Tree, Counting]:
    """Returns the same tree behind a transport that counts."""
    transport = Counting()
    return Tree(transport, tree.root), transport


def kind(name: str) -> Kind:
    entry = DeviceEntry.model_validate({"name": "board", "kind": name, "transport": "local", "workdir": "/w"})
    return KINDS[name](entry)


def looks(name: str) -> list[Callable[[Tree], Any]]:
    made = kind(name)
    return [made.sensors, made.facts, made.checks, made.cpus]


@pytest.mark.parametrize("files", [FILES, {}], ids=["everything", "nothing"])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_survey_finds_what_each_question_by_itself_finds(
    make_tree: MakeTree, name: str, files: Mapping[str, str]
) -> None:
    for look in looks(name):
        tree = make_tree(files)
        assert tree.survey(look) == look(Tree(tree.transport, tree.root))


# Folders, those within them, and files; one level more for a Jetson's rails, and labels before values. A program that
# is looked for costs one more, and so does one that is run.
@pytest.mark.parametrize(
    ("name", "sensors", "facts"), [("linux", 3, 3), ("raspberrypi", 4, 3), ("android", 4, 4), ("jetson", 4, 4)]
)
def test_sensors_and_facts_take_a_few_round_trips_however_much_there_is_to_read(
    make_tree: MakeTree, name: str, sensors: int, facts: int
) -> None:
    more = {path.replace("0/", "1/"): text for path, text in FILES.items() if path.count("0/") == 1}
    for files in (FILES, FILES | more):
        tree, transport = counted(make_tree(files))
        assert tree.survey(kind(name).sensors).sensors
        assert len(transport.trips) <= sensors, transport.trips
        tree, transport = counted(make_tree(files))
        assert tree.survey(kind(name).facts).cpu_count == 2
        assert len(transport.trips) <= facts, transport.trips


def test_a_survey_sees_the_device_as_it_is_each_time(make_tree: MakeTree) -> None:
    tree = make_tree(FILES)
    assert "charger.AC" in {sensor.name for sensor in tree.survey(kind("linux").sensors).sensors}
    make_tree({f"{SUPPLIES}/AC/online": "1"})
    gaps = {gap.name: gap.reason for gap in tree.survey(kind("linux").sensors).unavailable}
    assert "a charger is plugged in (AC)" in gaps["battery.BAT0"]
    make_tree({f"{SUPPLIES}/AC/online": "0", "sys/class/thermal/thermal_zone1/temp": "50000"})
    assert "thermal_zone1" in {sensor.name for sensor in tree.survey(kind("linux").sensors).sensors}


def test_a_program_runs_once_in_a_survey_and_only_when_what_leads_to_it_is_known(make_tree: MakeTree) -> None:
    tree, transport = counted(make_tree({"proc/version": "1", "sys/folder/file": "2"}))

    def look(tree: Tree) -> list[str | None]:
        found = [tree.read(["proc/version"]).text("proc/version")]
        if found[0] is None:
            found.append(tree.run(["false"], 10.0).stdout)
        found.append(tree.run(["echo", "hello"], 10.0).stdout)
        found += [tree.read([f"sys/folder/{name}"]).text(f"sys/folder/{name}") for name in tree.names("sys/folder")]
        return found

    assert tree.survey(look) == ["1", "hello\n", "2"]
    assert [trip for trip in transport.trips if trip in ("echo", "false")] == ["echo"]
