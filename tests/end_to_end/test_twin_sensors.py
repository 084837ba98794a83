"""Power sensors of boards and phones that disappear or return garbage in mid-session: real links, the real runner.

A sensor is lost for that session, and the measurement says why; the session's steps are kept. Energy from half a
session or from garbage is never reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.suite_runs import Bench, Ran
from tests.support.end_to_end.twin_runs import OverBeforeError, TwinRun, outcome, runners_in, warm_up_briefly
from tests.support.twins.twin_adb import AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE, JETSON_NANO
from tests.support.twins.twin_devices import LINKS, Twin
from tests.support.twins.twin_machine import until
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins

STEPS, WINDOW_S, READINGS = 100, 4.0, 10
"""A session lasts WINDOW_S seconds, whatever its steps take; the sensor fails after READINGS, long before its end."""

GAUGES = {
    "ssh": "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input",
    "adb": "sys/class/power_supply/battery/current_now",
}


@pytest.fixture(params=LINKS)
def link(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def twin(link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_bundle: BuiltRunner) -> Iterator[Twin]:
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)
    warm_up_briefly(monkeypatch)
    board = (ANDROID_PHONE if link == "adb" else JETSON_NANO).on_this_host()
    made: Twin = AdbTwin(tmp_path, board) if link == "adb" else SshTwin(tmp_path, board, busybox=True)
    with made as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


Arrange = Callable[[], Callable[[], Any]]
"""Makes the sensor work, and returns what makes it fail."""


def hit_in_the_middle(bench: Bench, run: TwinRun, arrange: Arrange) -> Ran:
    """Makes the sensor fail during a session; if its lines come too late on a busy host, tries a longer session."""
    for window_s in (WINDOW_S, 5 * WINDOW_S):
        with contextlib.suppress(OverBeforeError), run.fault(arrange(), ordinal=0, after_readings=READINGS):
            ran = run(sessions=1, steps=STEPS, energy_window_s=window_s)
            if "unavailable" in outcome(ran)["power_mw"]:
                return ran
        shutil.rmtree(bench.home / "runs")
    with run.fault(arrange(), ordinal=0, after_readings=READINGS):
        return run(sessions=1, steps=STEPS, energy_window_s=25 * WINDOW_S)


def check_that_only_the_sensor_is_lost(bench: Bench, run: TwinRun, twin: Twin, arrange: Arrange, why: str) -> None:
    ran = hit_in_the_middle(bench, run, arrange)
    assert not runners_in(twin)
    found = outcome(ran)
    assert (ran.code, found["status"]) == (0, "ok"), ran.err
    assert found["latency_ms"]["median"] > 0
    for key in ("energy_mj_per_step", "power_mw"):
        assert why in found[key]["unavailable"] and "gave no reading for" in found[key]["unavailable"]
    lost = {sensor["name"] for sensor in found["sensors"] if why in (sensor.get("unavailable") or "")}
    assert len(lost) == 1
    assert "start" in found["temperature_c"]  # the zones are there as before
    (log,) = bench.home.glob("runs/*/*board-*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {event["sensor"] for event in events if event["event"] == "sensor_error"} == lost


FULL = pytest.mark.full


@pytest.mark.parametrize(
    ("link", "garbage", "why"),
    [
        ("ssh", "no number\n", "there is no number in it"),
        pytest.param("ssh", "-5000\n", "is outside of", marks=FULL),
        pytest.param("ssh", "", "there is no number in it", marks=FULL),
        pytest.param("adb", "no number\n", "there is no number in it", marks=FULL),
        pytest.param("adb", "2147483647\n", "is outside of", marks=FULL),
    ],
    ids=["text over ssh", "below what can be", "nothing", "text over adb", "a driver's sentinel"],
)
def test_a_sensor_that_returns_garbage_costs_the_energy_and_not_the_session(
    bench: Bench, twin: Twin, link: str, garbage: str, why: str
) -> None:
    gauge = twin.root / GAUGES[link]
    good, run = gauge.read_text(), TwinRun(bench, **twin.entry(threads=1))

    def arrange() -> Callable[[], Any]:
        gauge.write_text(good)
        # Written in place, as a driver does: the runner keeps the file open.
        return lambda: gauge.write_text(garbage)

    check_that_only_the_sensor_is_lost(bench, run, twin, arrange, why)


def test_a_sensor_that_disappears_costs_the_energy_and_not_the_session(bench: Bench, twin: Twin, link: str) -> None:
    """A process's file stands in for the driver's: once the process has ended, an open descriptor gives ESRCH."""
    gauge = twin.root / GAUGES[link]

    def arrange() -> Callable[[], Any]:
        stand_in = lasting_process(twin, "612")
        gauge.unlink()
        gauge.symlink_to(f"/proc/{number_within(stand_in)}/oom_score_adj")
        return lambda: os.kill(stand_in, signal.SIGKILL)

    # A gauge in thousandths of what the kernel's documentation says.
    power = {"power": {"scale": 1000.0, "sign": 1}} if link == "adb" else {}
    run = TwinRun(bench, **twin.entry(threads=1, **power))
    check_that_only_the_sensor_is_lost(bench, run, twin, arrange, "No such process")


def lasting_process(twin: Twin, content: str) -> int:
    """Starts a process of the twin with `content` in its `oom_score_adj`; returns the host's id for it."""
    twin.machine.spawn("/usr/bin/busybox", "sleep", "31415", log=twin.root.parent / "stand-in.log")
    for _ in until(30, "the process that stands in"):
        if found := twin.machine.named("31415"):
            break
    Path(f"/proc/{found[0]}/oom_score_adj").write_text(content)
    return found[0]


def number_within(pid: int) -> str:
    """Returns the id that a process has within the twin."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in status if line.startswith("NSpid:")).split()[-1]
