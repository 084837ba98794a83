"""A Jetson made of files: both layouts of its power monitor, its power mode, its release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.errors import FileCause, FileError
from devices.inventory.entry import DeviceEntry, PowerSource
from devices.kinds.jetson import JetsonKind
from devices.sensors.reading import Texts, Tree
from devices.sensors.spec import Discovery, Sensor
from tests.support.devices.made_files import MakeTree

OLD = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
NEW = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
ZONE = "sys/class/thermal/thermal_zone"

MakeProgram = Callable[[Tree, str, str], None]


def kind(**values: object) -> JetsonKind:
    return JetsonKind(
        DeviceEntry.model_validate({"name": "nano", "kind": "jetson", "transport": "local", "workdir": "/w"} | values)
    )


def old_rails(*labels: str) -> dict[str, str]:
    """in_powerN_input reads 1000 * (N + 1) mW."""
    files = {f"{OLD}/rail_name_{n}": label for n, label in enumerate(labels)}
    return files | {f"{OLD}/in_power{n}_input": str(1000 * (n + 1)) for n in range(len(labels))}


def new_rails(labels: Mapping[int, str], folder: str = NEW) -> dict[str, str]:
    """5000 mV times 100 * n mA."""
    files = {f"{folder}/in{n}_label": label for n, label in labels.items()}
    files |= {f"{folder}/in{n}_input": "5000" for n in labels}
    return files | {f"{folder}/curr{n}_input": str(100 * n) for n in labels if n <= 3}


def power(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors if sensor.quantity == "power_mw"}


def gaps(found: Discovery) -> dict[str, str]:
    return {gap.name: f"{gap.reason}; {gap.remedy}" for gap in found.unavailable}


def milliwatts(tree: Tree, sensor: Sensor) -> float:
    times = float(tree.transport.read_text(sensor.times)) if sensor.times else 1.0
    return float(tree.transport.read_text(sensor.path)) * times * sensor.scale


@pytest.fixture
def program(tmp_path: Path) -> MakeProgram:
    """Replaces a program with a shell script."""

    def make(tree: Tree, path: str, script: str) -> None:
        file = Path(tree.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return make


def test_the_old_layout_gives_milliwatts_and_the_input_rail_is_the_total(make_tree: MakeTree) -> None:
    tree = make_tree(old_rails("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"))
    rails = power(kind().sensors(tree))
    assert {name: milliwatts(tree, rail) for name, rail in rails.items()} == {
        "POM_5V_IN": 1000,
        "POM_5V_GPU": 2000,
        "POM_5V_CPU": 3000,
    }
    assert [name for name, rail in rails.items() if rail.total] == ["POM_5V_IN"]
    assert "carrier board" in rails["POM_5V_IN"].method


def test_the_new_layout_multiplies_millivolts_by_milliamperes(make_tree: MakeTree) -> None:
    tree = make_tree(new_rails({1: "VDD_IN", 2: "VDD_CPU_GPU_CV", 3: "VDD_SOC"}))
    rails = power(kind().sensors(tree))
    assert {name: milliwatts(tree, rail) for name, rail in rails.items()} == {
        "VDD_IN": pytest.approx(500),
        "VDD_CPU_GPU_CV": pytest.approx(1000),
        "VDD_SOC": pytest.approx(1500),
    }
    assert [name for name, rail in rails.items() if rail.total] == ["VDD_IN"]


def test_channels_that_are_not_connected_and_the_sum_of_shunts_are_left_out(make_tree: MakeTree) -> None:
    tree = make_tree(new_rails({1: "NC", 2: "VDD_IN", 7: "sum of shunt voltages"}))
    assert list(power(kind().sensors(tree))) == ["VDD_IN"]


def test_a_rail_is_found_by_its_label_whatever_the_numbers(make_tree: MakeTree) -> None:
    folder = "sys/bus/i2c/drivers/ina3221/7-0041/hwmon/hwmon12"
    (name,) = power(kind().sensors(make_tree(new_rails({3: "VIN"}, folder))))
    assert name == "VIN"


def test_rails_without_an_input_rail_are_kept_without_a_total(make_tree: MakeTree) -> None:
    found = kind().sensors(make_tree(new_rails({1: "VDD_GPU_SOC", 2: "VDD_CPU_CV", 3: "VIN_SYS_5V0"})))
    assert len(power(found)) == 3
    assert not any(sensor.total for sensor in found.sensors)
    assert "none of the rails feeds the whole module" in gaps(found)["power"]
    assert "external meter" in gaps(found)["power"]


THOR = "sys/class/hwmon/hwmon5"


def thor(**files: str) -> dict[str, str]:
    """Returns an AGX Thor's monitors: the board's input is measured by an INA238, in microwatts."""
    monitor = {"name": "ina238", "in1_label": "VIN", "in1_input": "20000", "power1_input": "30000000"} | files
    rails = new_rails({1: "VDD_GPU", 2: "VDD_CPU_SOC_MSS", 3: "VIN_SYS_5V0"})
    return rails | {f"{THOR}/{file}": text for file, text in monitor.items()}


@pytest.mark.parametrize("files", [{}, {"in1_label": "", "power1_label": "VIN"}, {"name": "ina228"}])
def test_an_input_on_a_monitor_beside_the_rails_is_the_total(make_tree: MakeTree, files: dict[str, str]) -> None:
    tree = make_tree(thor(**files))
    found = kind().sensors(tree)
    (total,) = (sensor for sensor in found.sensors if sensor.total)
    assert (total.name, milliwatts(tree, total)) == (f"hwmon.{files.get('name', 'ina238')}.VIN", 30_000)
    assert {"VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"} < set(power(found))
    assert "power" not in gaps(found)


@pytest.mark.parametrize("name", ["hwmon.ina238.VIN", "hwmon.ina238.power1", "hwmon.ina238.BOARD"])
def test_a_monitors_channel_can_be_named_by_its_label_or_its_number(make_tree: MakeTree, name: str) -> None:
    tree = make_tree(thor(in1_label=name.rpartition(".")[2].replace("power1", "VIN")))
    found = kind(power={"sensor": name, "scale": 2.0}).sensors(tree)
    (total,) = (sensor for sensor in found.sensors if sensor.total)
    assert milliwatts(tree, total) == 60_000


def test_a_channel_of_two_chips_of_one_name_is_not_chosen_by_its_number(make_tree: MakeTree) -> None:
    other = {"name": "ina238", "in1_label": "VOUT", "power1_input": "9000000"}
    tree = make_tree(thor() | {f"sys/class/hwmon/hwmon6/{file}": text for file, text in other.items()})
    found = kind(power={"sensor": "hwmon.ina238.power1"}).sensors(tree)
    assert not any(sensor.total for sensor in found.sensors)
    assert "hwmon.ina238.VIN, hwmon.ina238.VOUT" in gaps(found)["power"]
    named = kind(power={"sensor": "hwmon.ina238.VOUT"}).sensors(tree)
    assert [milliwatts(tree, sensor) for sensor in named.sensors if sensor.total] == [9000]


def test_an_input_that_reads_what_no_board_draws_is_out_of_its_range(make_tree: MakeTree) -> None:
    (total,) = (one for one in kind().sensors(make_tree(thor(power1_input="30000"))).sensors if one.total)
    assert total.plausible is not None
    assert total.plausible[0] > 30


def test_a_board_without_a_monitor_says_so(make_tree: MakeTree) -> None:
    assert "no INA3221 monitor" in gaps(kind().sensors(make_tree({})))["power"]


@dataclass(frozen=True)
class _Kept(Tree):
    """A tree with a file that this user may not read; root can't be refused for real."""

    def read(self, paths: Iterable[str]) -> Texts:
        texts = super().read(paths).by_path
        denied = FileError("read", "x", FileCause.DENIED)
        return Texts({path: denied if path == f"{OLD}/in_power0_input" else text for path, text in texts.items()})


def test_an_input_rail_that_is_kept_from_the_user_has_the_command_that_opens_it(make_tree: MakeTree) -> None:
    tree = make_tree(old_rails("POM_5V_IN", "POM_5V_GPU"))
    gap = gaps(kind().sensors(_Kept(tree.transport, tree.root)))["POM_5V_IN"]
    assert f"sudo chmod a+r /{OLD}/in_power0_input" in gap
    assert "external meter" in gap


def test_a_rail_that_reads_garbage_is_not_a_matter_of_permissions(make_tree: MakeTree) -> None:
    files = old_rails("POM_5V_IN", "POM_5V_GPU")
    reasons = gaps(kind().sensors(make_tree(files | {f"{OLD}/in_power1_input": "garbage"})))
    assert reasons["POM_5V_GPU"].endswith("contains no number; None")


@pytest.mark.parametrize("value", ["", "garbage", "0x10", "nan", "9" * 40])
def test_an_input_rail_without_a_number_is_unavailable_and_nothing_takes_its_place(
    make_tree: MakeTree, value: str
) -> None:
    found = kind().sensors(make_tree(old_rails("POM_5V_IN", "POM_5V_GPU") | {f"{OLD}/in_power0_input": value}))
    assert list(power(found)) == ["POM_5V_GPU"]
    assert not any(sensor.total for sensor in found.sensors)
    assert "in_power0_input contains no number" in gaps(found)["POM_5V_IN"]


def test_a_current_that_is_missing_makes_the_rail_unavailable(make_tree: MakeTree) -> None:
    tree = make_tree({f"{NEW}/in1_label": "VDD_IN", f"{NEW}/in1_input": "5000"})
    assert "curr1_input can't be read because it doesn't exist" in gaps(kind().sensors(tree))["VDD_IN"]


def test_a_rail_whose_file_is_something_else_is_unavailable(make_tree: MakeTree) -> None:
    tree = make_tree({f"{OLD}/rail_name_0": "POM_5V_IN", f"{OLD}/in_power0_input/nested": "5000"})
    assert "something of another type has that name" in gaps(kind().sensors(tree))["POM_5V_IN"]


def test_a_label_cannot_break_names(make_tree: MakeTree) -> None:
    (name,) = power(kind().sensors(make_tree(old_rails('\x1b[2J"rail\n'))))
    assert name == "2J-rail"


def test_the_inventory_can_name_the_total_and_correct_it(make_tree: MakeTree) -> None:
    tree = make_tree(old_rails("POM_5V_IN", "POM_5V_GPU"))
    rails = power(kind(power=PowerSource(sensor="POM_5V_GPU", scale=2.0)).sensors(tree))
    assert [name for name, rail in rails.items() if rail.total] == ["POM_5V_GPU"]
    assert milliwatts(tree, rails["POM_5V_GPU"]) == 4000


def test_a_total_that_the_inventory_names_but_is_not_there_says_what_is(make_tree: MakeTree) -> None:
    found = kind(power=PowerSource(sensor="VDD_IN")).sensors(make_tree(old_rails("POM_5V_IN")))
    assert "doesn't exist now (power sensors: POM_5V_IN)" in gaps(found)["power"]
    assert not any(sensor.total for sensor in found.sensors)


def test_processor_and_graphics_temperatures_are_known_by_type_and_an_offline_unit_says_so(
    make_tree: MakeTree,
) -> None:
    zones = {"CPU-therm": "41000", "GPU-therm": "-256000", "PMIC-Die": "100000"}
    files: dict[str, str] = {}
    for number, (name, temp) in enumerate(zones.items()):
        files |= {f"{ZONE}{number}/type": name, f"{ZONE}{number}/temp": temp}
    found = kind().sensors(make_tree(files))
    assert [sensor.name for sensor in found.sensors if sensor.quantity == "temperature_mc"] == ["CPU-therm"]
    assert "this unit is offline" in gaps(found)["GPU-therm"]
    assert "constant" in gaps(found)["PMIC-Die"]


def test_power_mode_release_and_zram_are_among_the_facts(make_tree: MakeTree, program: MakeProgram) -> None:
    tree = make_tree(
        {
            "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
            "etc/os-release": 'PRETTY_NAME="Ubuntu 18.04.6 LTS"\n',
            "sys/block/zram0/disksize": str(512 << 20),
            "sys/block/zram1/disksize": str(512 << 20),
        }
    )
    program(tree, "usr/sbin/nvpmodel", "echo 'NV Fan Mode:quiet'; echo 'NV Power Mode: MAXN'; echo 0")
    facts = kind().facts(tree)
    assert facts.os_build == "Ubuntu 18.04.6 LTS; L4T 32.7.1 (JetPack 4)"
    assert facts.settings == {"power_mode": "MAXN (0)", "zram": "2 devices, 1024 MiB"}
    assert {check.name: check.status for check in kind().checks(tree)} == {"power mode": "ok", "zram": "ok"}


def test_another_power_mode_is_still_the_same_device(make_tree: MakeTree, program: MakeProgram) -> None:
    tree = make_tree({})
    program(tree, "usr/sbin/nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0")
    before = kind().facts(tree)
    program(tree, "usr/sbin/nvpmodel", "echo 'NV Power Mode: 5W'; echo 1")
    after = kind().facts(tree)
    assert (before.settings["power_mode"], after.settings["power_mode"]) == ("MAXN (0)", "5W (1)")
    assert before.fingerprint == after.fingerprint


@pytest.mark.parametrize(("script", "why"), [
    (None, "there is no nvpmodel"),
    ("echo 'Permission denied' >&2; exit 1", "exit code 1: Permission denied"),
    ("echo nonsense", "names no mode"),
])  # fmt: skip
def test_an_unknown_power_mode_says_why(
    make_tree: MakeTree, program: MakeProgram, script: str | None, why: str
) -> None:
    tree = make_tree({})
    if script is not None:
        program(tree, "usr/sbin/nvpmodel", script)
    mode = kind().checks(tree)[0]
    assert (mode.status, why in mode.detail) == ("warning", True)
    assert "power_mode" not in kind().facts(tree).settings
