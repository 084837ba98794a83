"""`suite run` on a Jetson whose only total power is that of the real jtop service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.suite_runs import SHAPE, Bench, by_setting
from tests.support.end_to_end.twin_runs import TwinRun, runners_in
from tests.support.twins.twin_jtop import JETSON_AGX_ORIN, JtopTwin

pytestmark = pytest.mark.twins

BEFORE_MW = 4500 + 600 + 1200
AFTER_MW = BEFORE_MW + 3000


@pytest.mark.full
def test_energy_comes_from_what_the_real_service_reports_during_the_run(
    bench: Bench, host_bundle: BuiltRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)  # less than its Python needs for its first reading
    with JtopTwin(tmp_path / "twin", JETSON_AGX_ORIN) as twin:
        run = TwinRun(bench, **twin.entry(threads=1))
        with run.fault(lambda: twin.set_rail(1, 1500), ordinal=0, after_steps=30):
            amount = ("--sessions", "1", "--steps", "40")
            ran = bench("run", "--device", "board", *SHAPE, "--quant", "fp32", *amount, "--json")
        assert not runners_in(twin)
        assert not runners_in(twin, "from jtop import")
    assert ran.code == 0, ran.err
    item = by_setting(ran.document)["fp32"]
    assert "trapezoid of jtop" in item["energy_mj_per_step"]["method"]
    methods = {sensor["name"]: sensor.get("method") for sensor in item["sensors"]}
    assert "jtop's sum of the rails VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0" in methods["jtop"]
    assert BEFORE_MW < item["power_mw"]["mean"] < AFTER_MW
    (log,) = bench.home.glob("runs/*/*board-*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    powers_mw = [event["value"] for event in events if event["event"] == "sample" and event["sensor"] == "jtop"]
    assert set(powers_mw) == {BEFORE_MW, AFTER_MW}
    assert powers_mw == sorted(powers_mw)
