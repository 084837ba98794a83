"""A Raspberry Pi made of files and a scripted vcgencmd."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devices.inventory.entry import DeviceEntry
from devices.kinds.raspberrypi import RaspberryPiKind
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery, Sensor
from tests.support.devices.made_files import MakeTree

ADC = """\
     3V7_WL_SW_A current(0)=0.10000000A
   3V3_SYS_A current(1)=0.20000000A
  BATT_V volt(24)=0.00000000V
  3V7_WL_SW_V volt(8)=3.70000000V
    3V3_SYS_V volt(9)=3.30000000V
   EXT5V_V volt(25)=5.10000000V
"""
FIRMWARE = {
    "get_throttled": "throttled=0x0",
    "measure_clock arm": "frequency(0)=2400033792",
    "measure_temp": "temp=48.3'C",
    "pmic_read_adc": ADC,
}


def kind(**values: object) -> RaspberryPiKind:
    return RaspberryPiKind(
        DeviceEntry.model_validate(
            {"name": "pi", "kind": "raspberrypi", "transport": "local", "workdir": "/w"} | values
        )
    )


def board(make_tree: MakeTree, model: str = "Raspberry Pi 5 Model B Rev 1.0", **firmware: str) -> Tree:
    """Returns a board whose firmware answers as `FIRMWARE`, except for keywords such as `pmic_read_adc="..."`."""
    answers = FIRMWARE | {key.replace("__", " "): text for key, text in firmware.items()}
    tree = make_tree({"proc/device-tree/model": f"{model}\0"})
    cases = "\n".join(f"'{words}') printf '%s\\n' \"{text}\" ;;" for words, text in answers.items())
    vcgencmd = Path(tree.path("usr/bin/vcgencmd"))
    vcgencmd.parent.mkdir(parents=True, exist_ok=True)
    vcgencmd.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 255 ;;\nesac\n')
    vcgencmd.chmod(0o755)
    return tree


def by_name(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors}


def gaps(found: Discovery) -> dict[str, str]:
    return {gap.name: f"{gap.reason}; {gap.remedy}" for gap in found.unavailable}


def first_line(sensor: Sensor) -> str:
    """Returns the first relevant line that the sensor's program prints."""
    assert sensor.command is not None
    with subprocess.Popen(sensor.command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            return next(line.rstrip("\n") for line in process.stdout if line.startswith(sensor.field or ""))
        finally:
            process.kill()


def test_the_firmware_is_asked_for_throttling_clock_and_temperature(make_tree: MakeTree) -> None:
    sensors = by_name(kind().sensors(board(make_tree, get_throttled="throttled=0x50005")))
    throttled, clock, temperature = (sensors[f"firmware.{name}"] for name in ("throttled", "clock", "temperature"))
    assert (throttled.quantity, first_line(throttled)) == ("throttle_flags", "throttled=0x50005")
    assert (clock.quantity, clock.field, clock.scale) == ("frequency_khz", "frequency(0)=", 1e-3)
    assert first_line(clock) == "frequency(0)=2400033792"
    assert (temperature.quantity, temperature.scale, first_line(temperature)) == (
        "temperature_mc",
        1e3,
        "temp=48.3'C",
    )


def test_power_of_a_pi_5_is_the_sum_of_its_rails_and_called_an_estimate(make_tree: MakeTree) -> None:
    sensor = by_name(kind().sensors(board(make_tree)))["pmic"]
    # 0.1 A * 3.7 V + 0.2 A * 3.3 V; EXT5V and BATT have no current.
    assert float(first_line(sensor).removeprefix("total ")) * sensor.scale == pytest.approx(1030.0)
    assert sensor.total
    assert sensor.method.startswith("estimate")
    assert sensor.rate_hz == 2.0


@pytest.mark.parametrize("model", ["Raspberry Pi 4 Model B Rev 1.5", "Raspberry Pi 3 Model B Plus", ""])
def test_older_boards_have_no_power_and_name_an_alternative(make_tree: MakeTree, model: str) -> None:
    found = kind().sensors(board(make_tree, model))
    assert not any(sensor.total for sensor in found.sensors)
    assert "has no current sensor" in gaps(found)["power"]
    assert "external meter" in gaps(found)["power"]


@pytest.mark.parametrize("adc", ["", "garbage", "EXT5V_V volt(25)=5.1V", "error=1 error_msg=unknown"])
def test_a_power_chip_that_reports_nothing_is_unavailable(make_tree: MakeTree, adc: str) -> None:
    found = kind().sensors(board(make_tree, pmic_read_adc=adc))
    assert "pmic" not in by_name(found)
    assert "pmic" in gaps(found)


def test_without_vcgencmd_the_way_to_install_it_is_named(make_tree: MakeTree) -> None:
    tree = make_tree({"proc/device-tree/model": "Raspberry Pi 5 Model B"})
    found = kind().sensors(tree)
    assert {name for name, text in gaps(found).items() if "apt install raspi-utils" in text} == {
        "pmic",
        "firmware.throttled",
        "firmware.clock",
        "firmware.temperature",
    }
    (check,) = kind().checks(tree)
    assert (check.status, "apt install" in check.remedy) == ("warning", True)
    assert kind().throttling(tree) is None


def test_a_firmware_error_is_quoted_with_what_to_do(make_tree: MakeTree) -> None:
    tree = board(make_tree)
    vcgencmd = Path(tree.path("usr/bin/vcgencmd"))
    vcgencmd.write_text(
        "#!/bin/sh\ncat << EOF\nCan't open device file: /dev/vcio\n"
        "Try creating a device file with: sudo mknod /dev/vcio c 100 0\nEOF\nexit 1\n"
    )
    (check,) = kind().checks(tree)
    assert check.detail == "unknown: vcgencmd ended with exit code 1: Can't open device file: /dev/vcio"
    assert "usermod -aG video" in check.remedy
    power = gaps(kind().sensors(tree))["pmic"]
    assert "vcgencmd ended with exit code 1: Can't open device file: /dev/vcio; " in power
    assert "usermod -aG video" in power
    assert "apt full-upgrade" in power


def test_a_user_without_access_to_the_firmware_is_pointed_to_the_group(make_tree: MakeTree) -> None:
    tree = make_tree({})
    vcgencmd = Path(tree.path("opt/vc/bin/vcgencmd"))
    vcgencmd.parent.mkdir(parents=True)
    vcgencmd.write_text("#!/bin/sh\necho 'VCHI initialization failed'\nexit 255\n")
    vcgencmd.chmod(0o755)
    gap = gaps(kind().sensors(tree))["firmware.throttled"]
    assert "VCHI initialization failed" in gap
    assert "usermod -aG video" in gap


@pytest.mark.parametrize("answer", ["", "throttled", "throttled=", "throttled=yes", "error=2"])
def test_flags_that_are_not_a_number_are_unavailable(make_tree: MakeTree, answer: str) -> None:
    tree = board(make_tree, get_throttled=answer)
    assert "firmware.throttled" in gaps(kind().sensors(tree))
    assert kind().throttling(tree) is None


def test_bits_since_boot_are_reported_but_only_current_ones_are_throttling(make_tree: MakeTree) -> None:
    tree = board(make_tree, get_throttled="throttled=0x50000")
    (check,) = kind().checks(tree)
    assert check.status == "warning"
    assert check.detail == "now: none; since boot: under-voltage, throttled (0x50000)"
    assert "power supply" in check.remedy
    assert kind().throttling(tree) is None


def test_current_bits_mean_throttling(make_tree: MakeTree) -> None:
    tree = board(make_tree, get_throttled="throttled=0x80008")
    assert kind().throttling(tree) == "the firmware is throttling the board: soft temperature limit"
    assert kind().checks(tree)[0].remedy == "cool the board"


def test_a_board_that_never_throttled_passes(make_tree: MakeTree) -> None:
    (check,) = kind().checks(board(make_tree))
    assert (check.status, check.detail) == ("ok", "none since boot")
