"""Unit and sign of a gauge, from what it reads idle and under load."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psutil
import pytest

from devices.access import connect
from devices.access.connect import Device
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import load
from devices.sensors.battery import RawGauge
from devices.sensors.reading import Tree
from suite.cli.main import run_command
from suite.energy import calibration
from suite.energy.calibration import PHONE_MW, PLAUSIBLE_MW, CalibrationError, Readings, calibration_of
from tests.support.devices.real_processes import is_running, wait_until

PRODUCT = RawGauge("battery", "current_now", "voltage_now", 0.0, 1e-9)
POWER = RawGauge("BAT0", "power_now", None, 0.0, 1e-3)
VOLTAGE = {"u": 4_000_000.0, "m": 4_000.0}
BATTERY = "sys/class/power_supply/battery"
USB = "sys/class/power_supply/usb"


def readings(idle: float, load: float, second: float, scatter: float = 0.01) -> Readings:
    """Twenty and ten readings around the two values."""
    around = [1 + scatter * (index % 5 - 2) / 2 for index in range(20)]
    return Readings(
        tuple((idle * factor, second) for factor in around), tuple((load * factor, second) for factor in around[:10])
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("current", "per_ma"), [("u", 1000.0), ("m", 1.0)])
@pytest.mark.parametrize("voltage", ["u", "m"])
def test_unit_and_sign_are_found_from_what_a_phone_can_draw(
    sign: int, current: str, per_ma: float, voltage: str
) -> None:
    # 150 mA idle and 900 mA under load, at 4 V.
    found = calibration_of(PRODUCT, readings(sign * 150 * per_ma, sign * 900 * per_ma, VOLTAGE[voltage]), PHONE_MW)
    assert found.sign == sign
    assert found.scale == (1e3 if current == "m" else 1.0) * (1e3 if voltage == "m" else 1.0)
    assert found.idle_mw == pytest.approx(600)
    assert found.load_mw == pytest.approx(3600)
    assert ("milliamperes" in found.unit) == (current == "m")
    assert ("millivolts" in found.unit) == (voltage == "m")


@pytest.mark.parametrize(("factor", "scale"), [(1e3, 1.0), (1.0, 1e3)])
def test_the_unit_of_a_gauge_of_power_alone_follows_from_its_size(factor: float, scale: float) -> None:
    found = calibration_of(POWER, readings(8000 * factor, 30000 * factor, 1.0), PLAUSIBLE_MW)
    assert (found.scale, found.sign) == (scale, 1)
    assert found.load_mw == pytest.approx(30000)


@pytest.mark.parametrize(("idle", "load", "scatter", "why"), [
    (500e3, 510e3, 0.01, "load and idle can't be told apart"),
    (500e3, 700e3, 0.5, "load and idle can't be told apart"),
    (500e3, 500e3, 0.0, "load and idle can't be told apart"),
    (700e3, 400e3, 0.01, "it reads less under load"),
    (-300e3, 700e3, 0.01, "its sign changes"),
    (0.0, 700e3, 0.0, "a gauge that reads 0 can.t be calibrated"),
])  # fmt: skip
def test_readings_that_tell_nothing_are_refused_with_their_figures(
    idle: float, load: float, scatter: float, why: str
) -> None:
    with pytest.raises(CalibrationError, match=why) as refused:
        calibration_of(PRODUCT, readings(idle, load, 4e6, scatter), PHONE_MW)
    assert f"reads {idle * 4e6 * PRODUCT.scale:.4g} mW idle" in str(refused.value)


def test_a_gauge_that_fits_no_unit_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no unit would make that 200 to 20000 mW"):
        calibration_of(PRODUCT, readings(3.0, 9.0, 4e6), PHONE_MW)


def test_a_gauge_that_fits_two_units_is_refused() -> None:
    with pytest.raises(CalibrationError, match="2 units"):
        calibration_of(POWER, readings(300.0, 900.0, 1.0), (0.1, 1e6))


@pytest.mark.parametrize("volts", [1.0, 65535e6])
def test_a_voltage_that_no_battery_has_fits_no_unit(volts: float) -> None:
    with pytest.raises(CalibrationError, match="no unit"):
        calibration_of(PRODUCT, readings(150e3, 900e3, volts), PHONE_MW)


class Phone:
    """Files of a battery whose current follows whether busy loops run below the shell that reads them.

    Its `sleep` asks this process and ends when it is answered, once the current is what it has to be: what is read
    next does not depend on how fast this host is, and nobody waits for time to pass.
    """

    def __init__(self, folder: Path) -> None:
        self.root, self.workdir = folder / "root", folder / "workdir"
        self.asked, self.answered = folder / "asked", folder / "answered"
        self.idle, self.load = "-150", "-900"
        self.busy = False
        self.seen: set[int] = set()

    def file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sleep_program(self, folder: Path) -> None:
        for pipe in (self.asked, self.answered):
            os.mkfifo(pipe)
        folder.mkdir()
        program = folder / "sleep"
        program.write_text(f'#!/bin/sh\necho "$PPID $$ $1" > "{self.asked}"\nread -r _ < "{self.answered}"\n')
        program.chmod(0o755)

    def answer(self) -> None:
        while len(words := self.asked.read_text().split()) == 3:
            shell, own = int(words[0]), int(words[1])
            if words[2] == f"{calibration.SETTLE_S:g}":
                self.settle(shell, own)
            self.file(f"{BATTERY}/current_now", self.load if self.loops(shell, own) else self.idle)
            self.answered.write_text("\n")

    def settle(self, shell: int, own: int) -> None:
        """Waits until the loops run, the first time, and until they are gone, the second."""
        self.busy = not self.busy
        with contextlib.suppress(AssertionError):  # what is read then tells
            wait_until(lambda: bool(self.loops(shell, own)) == self.busy)

    def loops(self, shell: int, own: int) -> set[int]:
        """The processes below the shell besides the `sleep` that asks."""
        children = {child.pid for child in psutil.Process(shell).children() if child.pid != own}
        running = {pid for pid in children if is_running(pid)}
        self.seen |= running
        return running


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    """A phone of files, reached by the local transport, with an inventory that names it."""
    made = Phone(tmp_path)
    for name, text in (("type", "Battery"), ("status", "Discharging"), ("voltage_now", "4000000")):
        made.file(f"{BATTERY}/{name}", text)
    made.file(f"{BATTERY}/current_now", made.idle)
    made.sleep_program(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    made.file("sys/devices/system/cpu/present", "0")
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        "# my devices\ndevices:\n  phone:  # on the desk\n    kind: android\n    transport: local\n"
        f"    workdir: {made.workdir}\n    power:\n      # the old one\n      scale: 7\n  # the end\n"
    )
    monkeypatch.setattr(calibration, "READ_EVERY_S", 0.1)
    monkeypatch.setattr(calibration, "SETTLE_S", 0.2)
    monkeypatch.setattr(connect, "Tree", lambda transport, _root: Tree(transport, str(made.root)))
    thread = threading.Thread(target=made.answer)
    thread.start()
    yield made
    made.asked.write_text("end")
    thread.join()


def calibrate(tmp_path: Path, *more: str) -> int:
    return run_command(
        ["devices", "calibrate", "phone", "--seconds", "1", "--inventory", str(tmp_path / "inventory.yaml"), *more]
    )


def test_a_device_is_calibrated_and_the_inventory_keeps_its_comments(
    phone: Phone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(tmp_path, "--yes") == 0
    output = capsys.readouterr().out
    assert "current in milliamperes, voltage in microvolts" in output
    assert "600 mW idle, 3600 mW on all cores" in output
    power = load(tmp_path / "inventory.yaml").devices["phone"].power
    assert power is not None
    assert (power.scale, power.sign) == (1000.0, -1)
    text = (tmp_path / "inventory.yaml").read_text()
    assert all(comment in text for comment in ("# my devices", "# on the desk", "# the old one", "# the end"))
    assert phone.seen
    assert not any(psutil.pid_exists(pid) for pid in phone.seen)


def test_a_counter_of_charge_beside_the_gauge_is_read(
    phone: Phone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.file(f"{BATTERY}/charge_counter", "3000000")
    assert calibrate(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["factor"] == 1.0
    assert "changed 0 times" in document["factor_note"]


def test_a_meter_sets_any_factor(phone: Phone, tmp_path: Path) -> None:
    assert calibrate(tmp_path, "--yes", "--meter-mw", "7200") == 0
    power = load(tmp_path / "inventory.yaml").devices["phone"].power
    assert power is not None
    assert power.sign == -1
    assert power.scale == pytest.approx(2000.0, rel=0.01)


def test_nothing_is_written_without_consent(
    phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tmp_path / "inventory.yaml").read_text()
    monkeypatch.setattr(click, "confirm", lambda question: "scale: 1000" not in question)
    assert calibrate(tmp_path) == 0
    assert "was not changed" in capsys.readouterr().out
    assert (tmp_path / "inventory.yaml").read_text() == before


def test_a_json_document_is_all_that_is_printed(
    phone: Phone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tmp_path / "inventory.yaml").read_text()
    assert calibrate(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["scale"], document["sign"]) == (1000.0, -1)
    assert (tmp_path / "inventory.yaml").read_text() == before


Change = Callable[[Phone], object]


@pytest.mark.parametrize(("change", "why"), [
    (lambda phone: phone.file(f"{BATTERY}/status", "Charging"), "is charging (status Charging)"),
    (lambda phone: [phone.file(f"{USB}/{name}", text) for name, text in (("type", "USB"), ("online", "1"))],
     "is charging (charger usb)"),
    (lambda phone: setattr(phone, "load", phone.idle), "can't be told apart"),
    (lambda phone: (phone.root / BATTERY / "current_now").unlink(), "no battery gauge that can be read"),
    (lambda phone: setattr(phone, "load", "garbage"), "0 load readings of"),
])  # fmt: skip
def test_a_device_that_cannot_be_calibrated_now_says_why_and_keeps_its_entry(
    phone: Phone, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, why: str
) -> None:
    before = (tmp_path / "inventory.yaml").read_text()
    change(phone)
    assert calibrate(tmp_path, "--yes") == 1
    assert why in capsys.readouterr().err
    assert (tmp_path / "inventory.yaml").read_text() == before


def test_several_devices_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("devices: {a: {kind: local}, b: {kind: local}}")
    assert run_command(["devices", "calibrate", "all", "--inventory", str(inventory)]) == 2
    assert "stands for 2 devices" in capsys.readouterr().err


def test_a_device_without_a_gauge_says_that_there_is_nothing_to_calibrate(tmp_path: Path) -> None:
    entry = DeviceEntry(name="pi", kind="linux", transport="local", workdir=str(tmp_path))
    with connect.connect(entry, tmp_path, root=str(tmp_path)) as device:
        assert isinstance(device, Device)
        with pytest.raises(CalibrationError, match="there is nothing to calibrate"):
            calibration.calibrate(device, 1.0)
