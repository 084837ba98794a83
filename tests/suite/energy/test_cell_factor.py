"""A gauge that shows one of several cells, found out from the charge that the battery loses or from a meter."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.sensors.battery import RawGauge
from suite.cli.main import run_command
from suite.energy.calibration import (
    PHONE_MW,
    Calibration,
    CalibrationError,
    CoursePoint,
    Readings,
    calibration_of,
    cell_factor,
)

GAUGE = RawGauge("battery", "current_now", "voltage_now", 0.0, 1e-9)
IDLE_UA, LOAD_UA = 150_000.0, 900_000.0


def course(
    cells: float, *, step_uah: float = 100.0, unit: float = 1.0, seconds: float = 90.0
) -> tuple[CoursePoint, ...]:
    """Returns two readings a second of a phone that draws `cells` times what its gauge shows, a third of it under load.

    Its counter falls in steps of `step_uah`, and `unit` is what the gauge's current is divided by.
    """
    points: list[CoursePoint] = []
    charge_uah = 2_000_000.0
    for index in range(int(2 * seconds)):
        gauge_ua = LOAD_UA if seconds / 3 <= index / 2 < 2 * seconds / 3 else IDLE_UA
        points.append(CoursePoint(index / 2, -gauge_ua / unit, charge_uah // step_uah * step_uah))
        charge_uah -= cells * gauge_ua * 0.5 / 3600
    return tuple(points)


def calibrated(points: tuple[CoursePoint, ...], unit: float = 1.0, meter_mw: float | None = None) -> Calibration:
    idle = tuple((-IDLE_UA / unit, 4e6) for _ in range(20))
    load = tuple((-LOAD_UA / unit, 4e6) for _ in range(10))
    return calibration_of(GAUGE, Readings(idle, load, points), PHONE_MW, meter_mw)


@pytest.mark.parametrize("unit", [1.0, 1e3])
@pytest.mark.parametrize("cells", [1, 2, 3])
def test_the_number_of_cells_is_found_whatever_the_unit(cells: int, unit: float) -> None:
    found = calibrated(course(cells, unit=unit), unit)
    assert (found.factor, found.scale, found.sign) == (cells, cells * unit, -1)
    assert found.load_mw == pytest.approx(cells * 3600)
    assert "the charge it loses" in str(found)


def test_a_ratio_that_is_no_number_of_cells_changes_nothing() -> None:
    found = calibrated(course(1.45))
    assert (found.factor, found.scale) == (1.0, 1.0)
    assert "not a whole number of cells" in found.factor_note


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ((), "no counter of its charge can be read"),
        (course(2, step_uah=4000.0), "times in 90 s, but a comparison needs more than 5"),
        (tuple(CoursePoint(point.seconds, point.rate, 7.0) for point in course(2)), "changed 0 times"),
    ],
)
def test_where_it_cannot_be_found_the_result_says_why_and_what_to_do(
    points: tuple[CoursePoint, ...], words: str
) -> None:
    found = calibrated(points)
    assert found.factor == 1.0
    assert words in str(found)
    assert "--meter-mw" in str(found)


def test_coarse_steps_are_counted_between_changes() -> None:
    assert cell_factor(course(2, step_uah=1000.0, seconds=300.0)).factor == 2.0


def test_what_a_meter_shows_gives_any_factor() -> None:
    found = calibrated((), meter_mw=7200.0)
    assert found.sign == -1
    assert found.scale == pytest.approx(2.0)
    assert found.idle_mw == pytest.approx(1200.0)
    assert found.load_mw == pytest.approx(7200.0)
    assert "7200 mW of the meter" in str(found)


def test_more_cells_than_such_a_device_can_feed_are_refused() -> None:
    idle, load = tuple((1e6, 4e6) for _ in range(20)), tuple((4e6, 4e6) for _ in range(10))
    with pytest.raises(CalibrationError, match=r"that is 3.2e\+04 mW, more than such a device can draw"):
        calibration_of(GAUGE, Readings(idle, load, course(2)), PHONE_MW)


@pytest.fixture
def device_home(tmp_path: Path) -> Path:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("devices:\n  phone: {kind: linux, transport: local, workdir: /nowhere}\n")
    return inventory


@pytest.mark.parametrize("value", ["0", "-5", "nan", "x"])
def test_a_meter_that_shows_no_power_is_refused(
    device_home: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    code = run_command(["devices", "calibrate", "phone", "--inventory", str(device_home), "--meter-mw", value])
    assert code == 2
    assert "--meter-mw" in capsys.readouterr().err
