"""A board over a real link whose sensors the inventory defines: their readings, their units, and energy from one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.suite_runs import Bench
from tests.support.end_to_end.twin_runs import TwinRun, outcome, warm_up_briefly
from tests.support.twins.twin_boards import RASPBERRY_PI_5
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_bundle: BuiltRunner) -> Iterator[SshTwin]:
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)
    warm_up_briefly(monkeypatch)
    with SshTwin(tmp_path, RASPBERRY_PI_5.on_this_host(), busybox=True) as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


def test_readings_are_in_the_report_with_their_units_and_one_of_them_gives_the_energy(
    bench: Bench, twin: SshTwin
) -> None:
    twin.write("sys/fan", "2900\n")
    twin.write("sys/psu", "4000\n")
    sensors = {
        "fan": {"file": "/sys/fan", "unit": "rpm", "every_s": 0.2},
        "inlet": {"command": ["echo", "23.5"], "unit": "degC", "every_s": 0.5},
        "psu": {"file": "/sys/psu", "quantity": "power", "unit": "mW", "every_s": 0.1},
    }
    run = TwinRun(bench, **twin.entry(sensors=sensors, power={"sensor": "psu"}))
    ran = run(sessions=1, steps=50, energy_window_s=3.0)
    found = outcome(ran)
    assert (ran.code, found["status"]) == (0, "ok"), ran.err
    readings = {
        one["name"]: (one["quantity"], one.get("readings")) for one in found["sensors"] if one["name"] in sensors
    }
    assert readings == {
        "fan": ("own_rpm", {"low": 2900, "mean": 2900, "high": 2900}),
        "inlet": ("own_degC", {"low": 23.5, "mean": 23.5, "high": 23.5}),
        "psu": ("power_mw", None),
    }
    assert found["power_mw"]["mean"] == pytest.approx(4000)
    (log,) = bench.home.glob("runs/*/*.board-*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step" and event["phase"] == "measured"]
    # Steps before the first sample and after the last one don't count, and may take longer than others.
    times = [event["t_ns"] for event in events if event["event"] == "sample" and event["sensor"] == "psu"]
    counted = [step for step in steps if times[0] <= step["t0_ns"] and step["t1_ns"] <= times[-1]]
    per_step_s = (counted[-1]["t1_ns"] - counted[0]["t0_ns"]) / 1e9 / len(counted)
    assert found["energy_mj_per_step"]["gross"] == pytest.approx(4000 * per_step_s, rel=0.05)
    page = Path(ran.document["report"]).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "2900 rpm on average" in page and "23.5 degC on average" in page
    metrics = bench("report", "--as", "openmetrics").out
    assert 'sensor="inlet",unit="degC"} 23.5' in metrics
