"""The suite's energy of a session against a known integral, on Jetson twins in both layouts of their power monitor."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from power_model import IDLE_MW, modelled_power, training_mj
from suite_runs import SHAPE, Bench, by_setting
from twin_boards import JETSON_NANO, JETSON_ORIN, Board
from twin_runs import TwinRun, outcome, runners_in
from twin_ssh import SshTwin

from devices.built_runner import BuiltRunner
from suite import gate

OLD = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input"
NEW = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input"
WITHIN = 0.02


@pytest.fixture(autouse=True)
def short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The idle power of the model is a constant: it takes no ten seconds to know it."""
    monkeypatch.setattr(gate, "IDLE_SECONDS", 2.0)


@pytest.mark.parametrize(
    ("board", "files", "rail"),
    [(JETSON_NANO, {"milliwatts": OLD}, "POM_5V_IN"), (JETSON_ORIN, {"milliamperes": NEW}, "VDD_IN")],
    ids=["JetPack 4", "JetPack 6"],
)
def test_energy_is_the_integral_of_the_boards_power_within_two_percent(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path, board: Board, files: dict[str, str], rail: str
) -> None:
    with SshTwin(tmp_path / "twin", board) as twin:
        TwinRun(bench, **twin.entry(threads=1))
        pid_file = twin.home / "edge-training-suite/runner.pid"
        with modelled_power(pid_file, **{unit: twin.root / name for unit, name in files.items()}):
            ran = bench(
                "run", "--device", "board", *SHAPE, "--quant", "fp32", *("--sessions", "1", "--steps", "40"), "--json"
            )
        assert ran.code == 0, ran.err
        assert not runners_in(twin)
    item = by_setting(ran.document)["fp32"]
    (log,) = bench.home.glob("runs/*/*.jsonl")
    begin_ns, end_ns, steps = _window(log, rail)
    wanted = training_mj(begin_ns, end_ns) / steps
    idle = IDLE_MW * (end_ns - begin_ns) / 1e9 / steps
    assert item["emulated"]
    assert item["energy_mj_per_step"]["gross"] == pytest.approx(wanted, rel=WITHIN)
    assert item["energy_mj_per_step"]["net"] == pytest.approx(wanted - idle, rel=WITHIN)
    assert item["power_mw"]["idle"] == pytest.approx(IDLE_MW, rel=WITHIN)
    assert rail in item["energy_mj_per_step"]["method"]


@pytest.mark.parametrize(
    "garbage",
    ["no number\n", pytest.param("-5000\n", marks=pytest.mark.full), pytest.param("", marks=pytest.mark.full)],
    ids=["text", "below what can be", "nothing"],
)
def test_a_sensor_that_fails_in_mid_session_costs_the_energy_and_not_the_session(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path, garbage: str
) -> None:
    with SshTwin(tmp_path / "twin", JETSON_NANO) as twin:
        run = TwinRun(bench, **twin.entry(threads=1))

        def fail() -> None:
            (twin.root / OLD).write_text(garbage)  # in place, as a driver does: the runner keeps the file open

        with run.fault(fail, ordinal=0, after_steps=8):
            ran = run(sessions=1, steps=20)
        assert not runners_in(twin)
    found = outcome(ran)
    assert (ran.code, found["status"]) == (0, "ok"), ran.err
    assert found["latency_ms"]["median"] > 0
    energy = found["energy_mj_per_step"]
    # Of the steps in which the sensor was there, or none: never a number that is made of the garbage.
    if "unavailable" not in energy:
        assert found["power_mw"]["mean"] == pytest.approx(2100)
        assert "unavailable" in energy["net"]
    (log,) = bench.home.glob("runs/*/*board-*.jsonl")
    failed = [event for event in _events(log) if event["event"] == "sensor_error"]
    assert "POM_5V_IN" in {event["sensor"] for event in failed}


def _window(log: Path, rail: str) -> tuple[int, int, int]:
    """Begin, end and number of the measured steps that samples of the rail surround."""
    events = _events(log)
    times = [event["t_ns"] for event in events if event["event"] == "sample" and event["sensor"] == rail]
    steps = [event for event in events if event["event"] == "step" and event["phase"] == "measured"]
    covered = [step for step in steps if times[0] <= step["t0_ns"] and step["t1_ns"] <= times[-1]]
    assert len(covered) >= 38
    assert all(later > earlier for earlier, later in pairwise(times))
    return covered[0]["t0_ns"], covered[-1]["t1_ns"], len(covered)


def _events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
