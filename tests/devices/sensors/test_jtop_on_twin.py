"""What the suite reads through the real jtop service, over SSH and the device's own Python; and what prevents it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devices.access.connect import Device, connect
from devices.access.inspection import check
from devices.inventory.entry import DeviceEntry
from devices.processes import ProcessEnd
from devices.sensors.jetson_jtop import JtopReading, NoJtop, read_jtop
from devices.sensors.spec import Discovery, Sensor
from tests.support.twins.twin_jtop import JETSON_AGX_ORIN, JtopTwin

pytestmark = pytest.mark.twins

OF_THE_RAILS = {"VDD_IN": 4500, "VDD_CPU_GPU_CV": 600, "VDD_SOC": 1200}
STREAM_TIMEOUT_S = 120.0
PATIENCE = "20"
"""The argument of the sensor's command that gives the seconds without a reading after which it ends."""


class Enough(Exception):  # noqa: N818 - the way to end a stream, not a fault
    """Ends a stream."""


@pytest.fixture
def reach(tmp_path: Path) -> Iterator[Callable[[JtopTwin], Device]]:
    """Connects to a twin as the suite does."""
    with contextlib.ExitStack() as connected:

        def reached(twin: JtopTwin) -> Device:
            document = {"name": "nano", "transport": "ssh", "workdir": "edge-training-suite"} | twin.entry()
            return connected.enter_context(connect(DeviceEntry.model_validate(document), tmp_path / "locks"))

        yield reached


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JtopTwin]:
    """One board for all tests that leave it as it was, or restart its service. A port powers it."""
    twin = JtopTwin(tmp_path_factory.mktemp("jetson") / "twin", version="4.3.2")
    twin.add_supply("ucsi-source-psy-1-00081", 20_000_000, 3_000_000)
    with twin:
        yield twin


@pytest.fixture
def board(shared: JtopTwin) -> JtopTwin:
    """Its service runs, whatever the test before has done to it."""
    if not shared.machine.named("-m jtop"):
        shared.start_service()
    return shared


def found(device: Device) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in device.sensors().sensors}


def gap(found: Discovery, name: str = "jtop") -> str:
    return next(f"{item.reason}; {item.remedy}" for item in found.unavailable if item.name == name)


def follow(device: Device, sensor: Sensor, on_text: Callable[[str], None]) -> ProcessEnd:
    """Runs the sensor's program as the runner does, and hands over what follows the sensor's field."""
    field = sensor.field or ""

    def take(line: str) -> None:
        if line.startswith(field):
            on_text(line.removeprefix(field))

    return device.transport.stream(sensor.command or (), take, timeout_s=STREAM_TIMEOUT_S)


def test_total_rails_temperatures_and_power_mode_are_those_of_the_real_service(
    board: JtopTwin, reach: Callable[[JtopTwin], Device]
) -> None:
    reading = read_jtop(reach(board).tree)
    assert isinstance(reading, JtopReading), reading
    assert reading.rails_mw == OF_THE_RAILS  # and not the port, which jtop counts among them
    assert (reading.total_rails, reading.total_mw, reading.interval_s) == (("VDD_IN",), 4500, 0.5)
    assert reading.temperatures_c == {"cpu": 45.0, "gpu": 44.0}
    assert reading.mode == "15W (0)"


def test_values_follow_the_hardware_while_the_sensor_runs(board: JtopTwin, reach: Callable[[JtopTwin], Device]) -> None:
    device = reach(board)
    lines: list[float] = []

    def take(text: str) -> None:
        lines.append(float(text))
        if len(lines) == 2:
            board.set_rail(1, 1500)
        if lines[-1] == 7500:
            raise Enough

    with pytest.raises(Enough):
        follow(device, found(device)["jtop"], take)
    board.set_power_mode("7W", 1)
    reading = read_jtop(device.tree)
    board.set_rail(1, 900)
    board.set_power_mode("15W", 0)
    assert set(lines) == {4500, 7500}
    assert isinstance(reading, JtopReading)
    assert (reading.total_mw, reading.mode) == (7500, "7W (1)")


@pytest.mark.full
def test_a_stuck_service_gives_no_reading_twice(board: JtopTwin, reach: Callable[[JtopTwin], Device]) -> None:
    device = reach(board)
    lines: list[str] = []

    def take(text: str) -> None:
        lines.append(text)
        if len(lines) == 2:
            board.pause_service()

    sensor = found(device)["jtop"]
    impatient = tuple("4" if word == PATIENCE else word for word in sensor.command or ())
    try:
        ending = follow(device, replace(sensor, command=impatient), take)
    finally:
        board.kill_service()
        board.start_service()
    assert ending.rc == 1
    assert "its service is stuck: nothing new for 4 s" in ending.stderr_tail
    assert len(lines) in (2, 3)  # one may have been on its way


def test_a_service_that_is_killed_ends_the_sensor_with_the_reason_and_then_says_how_to_start_it(
    board: JtopTwin, reach: Callable[[JtopTwin], Device]
) -> None:
    device = reach(board)
    ending = follow(device, found(device)["jtop"], lambda _text: board.kill_service())
    reading = device.sensors()
    board.start_service()
    assert ending.rc == 1
    assert len(ending.stderr_tail.strip().splitlines()[-1]) < 200
    assert "The jtop.service is not active" in gap(reading)
    assert "sudo systemctl restart jtop.service" in gap(reading)
    assert "jtop" not in {sensor.name for sensor in reading.sensors}


def test_a_missing_package_says_what_to_install(board: JtopTwin, reach: Callable[[JtopTwin], Device]) -> None:
    module = board.root / "usr/lib/python3/dist-packages/jtop"
    module.rename(module.with_name("elsewhere"))
    reading = read_jtop(reach(board).tree)
    module.with_name("elsewhere").rename(module)
    assert isinstance(reading, NoJtop)
    assert "not installed: No module named 'jtop'" in reading.reason
    assert "install jetson-stats for the device's own Python" in reading.remedy


def test_a_version_other_than_the_services_is_reported(board: JtopTwin, reach: Callable[[JtopTwin], Device]) -> None:
    version = board.root / "usr/lib/python3/dist-packages/jtop/__init__.py"
    text = version.read_text()
    version.write_text(text.replace('"4.3.2"', '"4.2.1"'))
    reading = read_jtop(reach(board).tree)
    version.write_text(text)
    assert isinstance(reading, NoJtop)
    assert "Mismatch version jtop service: [4.3.2] and client: [4.2.1]" in reading.reason
    assert "client and service must have the same version" in reading.remedy


def test_a_user_outside_the_group_is_pointed_to_it(board: JtopTwin, reach: Callable[[JtopTwin], Device]) -> None:
    with board.outside_the_group():
        reading = reach(board).sensors()
    assert "I can't access jtop.service" in gap(reading)
    assert "sudo usermod -aG jtop $USER" in gap(reading)
    assert [sensor.name for sensor in reading.sensors if sensor.total] == ["VDD_IN"]


def test_what_only_root_may_read_comes_through_the_service(
    board: JtopTwin, reach: Callable[[JtopTwin], Device]
) -> None:
    with board.private():
        device = reach(board)
        reading, facts = device.sensors(), device.facts()
    through = {sensor.name: sensor.total for sensor in reading.sensors if sensor.name.startswith("jtop")}
    rails = {"jtop.VDD_CPU_GPU_CV": False, "jtop.VDD_SOC": False}
    assert through == {"jtop": True, **rails, "jtop.cpu": False, "jtop.gpu": False}
    assert "permission is denied" in gap(reading, "VDD_IN")
    assert facts.settings["power_mode"] == "15W (0)"


@pytest.fixture
def large_board(tmp_path: Path) -> Iterator[JtopTwin]:
    """None of its rails feeds the whole module, and a charger powers the board."""
    twin = JtopTwin(tmp_path / "twin", JETSON_AGX_ORIN, version="7.2.2")
    twin.add_supply("bq25703-charger", 20_000_000, 3_000_000)
    with twin:
        yield twin


def test_check_prints_only_the_sum_of_the_rails_and_a_vanished_rail_leaves_no_total(
    large_board: JtopTwin, reach: Callable[[JtopTwin], Device]
) -> None:
    lines: list[str] = []

    def take(text: str) -> None:
        lines.append(text)
        if len(lines) == 1:
            large_board.remove_rail(3)
        if "gone" in text:
            raise Enough

    device = reach(large_board)
    looked = check(device)
    assert looked.sensors is not None
    rows = {row.item: row.detail for row in looked.rows}
    assert rows["jtop"] == (
        "total 6300 mW; VDD_CPU_CV 600 mW, VDD_GPU_SOC 4500 mW, VIN_SYS_5V0 1200 mW; "
        "cpu 45.0 °C, gpu 44.0 °C; power mode 15W (0); every 0.5 s"
    )
    assert "power_mw: jtop's sum of the rails VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0" in rows["sensor jtop"]
    assert "sensor power" not in rows  # the gap that jtop fills
    (total,) = (sensor for sensor in looked.sensors.sensors if sensor.total)
    with pytest.raises(Enough):
        follow(device, total, take)
    # jtop's own total would just get smaller.
    assert set(lines[:-1]) == {"6300"}
    assert lines[-1] == "gone: VIN_SYS_5V0"
