"""Sensors that the inventory defines: which are refused, found or missing, and which becomes the device's power."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devices.access.connect import connect
from devices.access.inspection import check_entry
from devices.errors import InventoryError
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import load
from devices.kinds.kind import LinuxKind
from devices.sensors.own import with_own_sensors
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery, Sensor
from tests.support.devices.made_files import MakeTree

FILES = {
    "sys/fan": "2900\n",
    "sys/rail": "name x\nin 5012 mV\n",
    "sys/volt": "5000\n",
    "sys/amp": "1200\n",
    "sys/uj": "7000000\n",
    "sys/text": "unknown\n",
    "sys/class/hwmon/hwmon0/name": "ina226\n",
    "sys/class/hwmon/hwmon0/power1_input": "3000000\n",
}


def entry(sensors: dict[str, Any], **values: Any) -> DeviceEntry:
    named = {"name": "board", "kind": "linux", "transport": "local", "workdir": "/w", "sensors": sensors}
    return DeviceEntry.model_validate(named | values)


def found_in(tree: Tree, sensors: dict[str, Any], **values: Any) -> Discovery:
    """Returns the sensors of a Linux board with this entry, in as many looks as it takes."""
    board = entry(sensors, **values)
    kind = LinuxKind(board.model_copy(update={"power": None}))
    return tree.survey(lambda seen: with_own_sensors(seen, kind.sensors(seen), board))


def by_name(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors}


def gaps(found: Discovery) -> dict[str, str]:
    return {gap.name: f"{gap.reason}; {gap.remedy}" for gap in found.unavailable}


def test_a_file_is_read_with_its_scale_and_keeps_its_unit(make_tree: MakeTree) -> None:
    tree = make_tree(FILES)
    sensors = by_name(
        found_in(
            tree,
            {
                "fan": {"file": "/sys/fan", "unit": "rpm", "every_s": 0.5, "range": [0, 9000]},
                "rail": {"file": "/sys/rail", "field": "in ", "unit": "V", "scale": 0.001},
            },
        )
    )
    fan, rail = sensors["fan"], sensors["rail"]
    assert fan.job_entry() == {
        **{"name": "fan", "quantity": "own_rpm", "path": tree.path("sys/fan"), "scale": 1.0, "rate_hz": 2.0},
        "range": [0.0, 9000.0],
    }
    assert (rail.quantity, rail.field, rail.scale) == ("own_V", "in ", 0.001)
    assert "/sys/rail, times 0.001, in V" in rail.method


@pytest.mark.parametrize(
    ("source", "quantity", "scale", "form", "wraps"),
    [
        ({"file": "/sys/fan", "quantity": "power", "unit": "W"}, "power_mw", 1e3, "gauge", None),
        (
            {"file": "/sys/volt", "times": "/sys/amp", "quantity": "power", "unit": "W", "scale": 1e-6},
            *("power_mw", 1e-3, "gauge", None),
        ),
        (
            {"file": "/sys/uj", "quantity": "energy", "unit": "uJ", "wraps_at": 2**32},
            "energy_mj",
            1e-3,
            "counter",
            2**32 / 1e3,
        ),
        (
            {"file": "/sys/fan", "quantity": "temperature", "unit": "degC", "scale": 0.01},
            "temperature_mc",
            10.0,
            "gauge",
            None,
        ),
    ],
    ids=["W", "V x A", "uJ", "degC"],
)
def test_what_the_suite_knows_is_kept_in_its_units(
    make_tree: MakeTree, source: dict[str, Any], quantity: str, scale: float, form: str, wraps: float | None
) -> None:
    sensor = by_name(found_in(make_tree(FILES), {"own": source}))["own"]
    assert (sensor.quantity, sensor.form, sensor.counter_range) == (quantity, form, wraps)
    assert sensor.scale == pytest.approx(scale)
    assert not sensor.total


def test_a_command_runs_once_to_be_found_and_then_repeatedly(make_tree: MakeTree) -> None:
    sensors = by_name(
        found_in(
            make_tree(FILES),
            {
                "load": {"command": ["echo", "busy: 42 %"], "field": "busy:", "unit": "percent", "every_s": 2},
                "flow": {"command": ["sleep", "100"], "stream": True, "unit": "l_per_min"},
            },
        )
    )
    assert sensors["load"].command is not None
    assert sensors["load"].command[-2:] == ("echo", "busy: 42 %")
    assert sensors["load"].command[3] == "2"
    assert sensors["flow"].command == ("sleep", "100")
    assert sensors["flow"].path == ""


@pytest.mark.parametrize(
    ("source", "gap"),
    [
        ({"file": "/sys/nothing", "unit": "V"}, "/sys/nothing can't be read because"),
        ({"file": "/sys/text", "unit": "V"}, "/sys/text contains no number; name a file that starts with a number"),
        ({"file": "/sys/rail", "field": "out ", "unit": "V"}, "/sys/rail has no line with a number after 'out '"),
        ({"file": "/sys/fan", "times": "/sys/text", "unit": "V"}, "/sys/text contains no number"),
        ({"command": ["false"], "unit": "V"}, "false ended with exit code 1"),
        ({"command": ["/nowhere/program"], "unit": "V"}, "program"),
        ({"command": ["echo", "none"], "unit": "V"}, "echo prints no line that starts with a number"),
        ({"command": ["echo", "a 1"], "field": "b", "unit": "V"}, "echo prints no number after 'b'"),
        ({"plugin": "nobody"}, "no plugin 'nobody' is installed (plugins' sensors: none)"),
    ],
)
def test_what_cannot_be_read_is_a_gap_with_its_reason(make_tree: MakeTree, source: dict[str, Any], gap: str) -> None:
    found = found_in(make_tree(FILES), {"own": source})
    assert "own" not in by_name(found)
    assert gap in gaps(found)["own"]


def test_a_name_that_the_device_has_already_is_a_gap(make_tree: MakeTree) -> None:
    found = found_in(make_tree(FILES), {"hwmon.ina226.power1": {"file": "/sys/fan", "unit": "rpm"}})
    assert [sensor.name for sensor in found.sensors].count("hwmon.ina226.power1") == 1
    assert "the device already has a sensor of this name; give it another name" in gaps(found)["hwmon.ina226.power1"]


def test_one_of_them_can_be_the_power_of_the_whole_device(make_tree: MakeTree) -> None:
    sensors = {"psu": {"file": "/sys/fan", "quantity": "power", "unit": "mW"}}
    found = found_in(make_tree(FILES), sensors, power={"sensor": "psu", "scale": 2})
    assert {sensor.name for sensor in found.sensors if sensor.total} == {"psu"}
    assert by_name(found)["psu"].scale == 2.0
    assert "power" not in gaps(found)


def test_a_total_that_cannot_be_read_says_why(make_tree: MakeTree) -> None:
    sensors = {"psu": {"file": "/sys/nothing", "quantity": "power", "unit": "mW"}}
    found = found_in(make_tree(FILES), sensors, power={"sensor": "psu"})
    assert not any(sensor.total for sensor in found.sensors)
    assert "the inventory's power.sensor is psu, which can't be read now: /sys/nothing" in gaps(found)["power"]


def test_a_connected_board_has_them_beside_those_of_its_kind(make_tree: MakeTree, tmp_path: Path) -> None:
    """Over a whole connection, with the board's files in place of this machine's."""
    tree = make_tree(FILES)
    board = entry(
        {"psu": {"file": "/sys/fan", "quantity": "power", "unit": "mW"}, "fan": {"file": "/sys/fan", "unit": "rpm"}},
        workdir=str(tmp_path / "work"),
        power={"sensor": "psu"},
    )
    with connect(board, tmp_path / "locks", root=tree.root) as device:
        found = device.sensors()
    assert {sensor.name for sensor in found.sensors if sensor.total} == {"psu"}
    rows = {row.item: row for row in check_entry(board, tmp_path / "locks", root=tree.root).rows}
    assert rows["sensor fan"].detail.startswith("own_rpm: /sys/fan, in rpm, every 1 s")


@pytest.mark.parametrize(
    ("sensor", "sentence"),
    [
        ("{unit: V}", "a sensor needs one of `file`, `command` and `plugin`, and has 0; give one"),
        ("{file: /a, command: [b], unit: V}", "has 2; give one"),
        ("{file: a, unit: V}", "it must be the absolute path of a file on the device"),
        ("{file: /a}", "a sensor needs the `unit` of its readings"),
        ("{file: /a, unit: '%'}", "a unit is 1 to 24 letters"),
        ("{file: /a, unit: V, quantity: power}", "power is in W, mW, uW, not 'V'"),
        ("{file: /a, unit: V, quantity: speed}", "`sensors.own.quantity` is 'speed', which doesn't exist"),
        ("{file: /a, unit: V, scale: 0}", "a `scale` of 0 makes all readings 0"),
        ("{file: /a, unit: V, scale: .nan}", "it must be a finite number"),
        ("{file: /a, unit: V, scale: high}", "`sensors.own.scale`"),
        ("{file: /a, unit: V, every_s: 0.001}", "`sensors.own.every_s` is 0.001"),
        ("{file: /a, unit: V, range: [2, 1]}", "`range` starts above its end"),
        ("{file: /a, unit: V, range: [2]}", "`sensors.own.range`"),
        ("{file: /a, unit: V, wraps_at: 5}", "`wraps_at` is for a counter of energy"),
        ("{file: /a, unit: V, stream: true}", "a sensor with `file` has no `stream`"),
        ("{command: [a], unit: V, times: /b}", "a sensor with `command` has no `times`"),
        ("{command: [], unit: V}", "`sensors.own.command`"),
        ("{plugin: a, unit: V}", "a sensor with `plugin` has no `unit`"),
        ("{file: /a, unit: V, colour: red}", "unknown key"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, sensor: str, sentence: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"devices:\n  local:\n    kind: local\n    sensors:\n      own: {sensor}\n")
    with pytest.raises(InventoryError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:5: device 'local': ")
    assert sentence in str(caught.value)


def test_a_name_that_no_sensor_can_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("devices:\n  local:\n    kind: local\n    sensors: {'a b': {file: /a, unit: V}}\n")
    with pytest.raises(InventoryError, match="a sensor's name is 1 to 48 letters"):
        load(path)


def test_options_are_for_plugins_alone(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("devices:\n  local: {kind: local, options: {model: x}}\n")
    with pytest.raises(InventoryError, match="`options` are for a plugin's kind or transport"):
        load(path)
