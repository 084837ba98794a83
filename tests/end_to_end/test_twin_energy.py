"""The suite's energy of a session against a known integral: both layouts of a Jetson's monitor, a phone's gauge."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.power_model import IDLE_MW, MILLIVOLTS, modelled_power, training_mj
from tests.support.end_to_end.suite_runs import SHAPE, Bench, by_setting
from tests.support.end_to_end.twin_runs import TwinRun, runners_in, warm_up_briefly
from tests.support.twins.twin_adb import AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE, JETSON_NANO, JETSON_ORIN, Board
from tests.support.twins.twin_devices import Twin
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins

OLD = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input"
NEW = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input"
GAUGE = "sys/class/power_supply/battery/current_now"
WITHIN = 0.02
STEPS = 20
"""At least: the session goes on until it has measured for ten seconds, several periods of the power."""
LENGTH = ("--sessions", "1", "--steps", str(STEPS))
ATTEMPTS = 5
"""A host that is too busy to take all samples says so, and measures again."""


@pytest.fixture(autouse=True)
def short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the idle time, as the model's idle power is constant."""
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 2.0)
    warm_up_briefly(monkeypatch)


def _twin(board: Board, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Twin:
    board = board.on_this_host()
    if board.kind != ANDROID_PHONE.kind:
        return SshTwin(folder, board, busybox=True)
    phone = AdbTwin(folder, board)
    phone.write("/sys/class/power_supply/battery/voltage_now", f"{MILLIVOLTS * 1000:.0f}\n")
    for name, value in phone.environ.items():
        monkeypatch.setenv(name, value)
    return phone


@pytest.mark.parametrize(
    ("board", "unit", "file", "rail"),
    [
        pytest.param(JETSON_NANO, "milliwatts", OLD, "POM_5V_IN", id="JetPack 4"),
        pytest.param(JETSON_ORIN, "milliamperes", NEW, "VDD_IN", id="JetPack 6"),
        pytest.param(ANDROID_PHONE, "microamperes", GAUGE, "battery.battery", id="phone", marks=pytest.mark.full),
    ],
)
def test_energy_is_the_integral_of_the_boards_power_within_two_percent(
    bench: Bench,
    host_bundle: BuiltRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    board: Board,
    unit: str,
    file: str,
    rail: str,
) -> None:
    with _twin(board, tmp_path / "twin", monkeypatch) as twin:
        TwinRun(bench, **twin.entry(threads=1))
        pid_file = twin.workdir / "edge-training-suite/runner.pid"
        with modelled_power(pid_file, **{unit: twin.root / file}):
            for _ in range(ATTEMPTS):
                ran = bench("run", "--device", "board", *SHAPE, "--quant", "fp32", *LENGTH, "--json")
                assert ran.code == 0, ran.err
                item = by_setting(ran.document)["fp32"]
                energy, power = item["energy_mj_per_step"], item["power_mw"]
                if all(isinstance(found, float) for found in (energy["gross"], energy["net"], power["idle"])):
                    break
        assert not runners_in(twin)
    (log,) = bench.home.glob(f"runs/{ran.document['run_id']}/*.jsonl")
    begin_ns, end_ns, steps = _window(log, rail)
    wanted = training_mj(begin_ns, end_ns) / steps
    idle = IDLE_MW * (end_ns - begin_ns) / 1e9 / steps
    assert item["emulated"]
    assert item["energy_mj_per_step"]["gross"] == pytest.approx(wanted, rel=WITHIN)
    assert item["energy_mj_per_step"]["net"] == pytest.approx(wanted - idle, rel=WITHIN)
    assert item["power_mw"]["idle"] == pytest.approx(IDLE_MW, rel=WITHIN)
    assert rail in item["energy_mj_per_step"]["method"]


def _window(log: Path, rail: str) -> tuple[int, int, int]:
    """Returns begin, end and number of the measured steps that lie between samples of the rail."""
    events = _events(log)
    times = [event["t_ns"] for event in events if event["event"] == "sample" and event["sensor"] == rail]
    steps = [event for event in events if event["event"] == "step" and event["phase"] == "measured"]
    covered = [step for step in steps if times[0] <= step["t0_ns"] and step["t1_ns"] <= times[-1]]
    assert len(covered) >= STEPS - 2
    assert all(later > earlier for earlier, later in pairwise(times))
    return covered[0]["t0_ns"], covered[-1]["t1_ns"], len(covered)


def _events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
