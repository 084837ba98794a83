"""What sensors and kinds say about a session: chargers, pinning, throttling seen by the host, programs while idle."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from devices.errors import DeviceLost
from devices.processes import ProcessEnd
from devices.sensors.spec import Sensor
from devices.transports.local.transport import LocalTransport
from foundation.unavailable import Unavailable
from suite.energy.session_energy import SessionEnergy, session_energy
from suite.measuring import job, session
from suite.measuring.idle_device import Clock, idle_power_mw, value_in
from suite.measuring.sensor_plan import SensorPlan
from suite.measuring.session import run_session
from suite.sessions.loss_check import NOTHING_EXPECTED
from suite.sessions.validity import Expectation, SessionStatus, judge
from tests.support.suite import recorded_session as recorded

NO_IDLE = Unavailable("nobody looked")
QUANTITIES = {"battery.BAT0": "power_mw", "VDD_IN": "power_mw", "charger.usb": "chargers"}


def energy_with_charger(sensor: str, plugged: float) -> SessionEnergy | Unavailable:
    lines = recorded.samples(sensor, 5000.0, seconds=25)
    lines += recorded.samples("charger.usb", lambda t: plugged if t > 5 else 0.0, seconds=25, hz=1)
    made = recorded.record(*lines, quantities=QUANTITIES, ms=500.0, measured_steps=40)
    return session_energy(made, [sensor], {}, NO_IDLE)


def test_a_charger_that_comes_during_a_session_makes_the_batterys_energy_unavailable() -> None:
    found = energy_with_charger("battery.BAT0", 1.0)
    assert isinstance(found, Unavailable)
    assert "charger.usb: a charger was plugged in during the session" in found.reason


def test_a_charger_that_stays_away_does_no_harm() -> None:
    assert isinstance(energy_with_charger("battery.BAT0", 0.0), SessionEnergy)


def test_a_charger_that_nobody_watched_to_the_end_makes_the_batterys_energy_unavailable() -> None:
    lines = recorded.samples("battery.BAT0", 5000.0, seconds=25)
    lines += recorded.samples("charger", 0.0, seconds=5, hz=1)
    failed = {"event": "sensor_error", "sensor": "charger", "errors": 1, "reason": "its program ended"}
    made = recorded.record(*lines, failed, quantities=QUANTITIES | {"charger": "chargers"}, ms=500.0, measured_steps=40)
    found = session_energy(made, ["battery.BAT0"], {}, NO_IDLE)
    assert isinstance(found, Unavailable)
    assert "charger: whether a charger was plugged in is unknown: its program ended" in found.reason


def test_a_charger_is_of_no_concern_where_the_battery_is_not_the_power() -> None:
    assert isinstance(energy_with_charger("VDD_IN", 1.0), SessionEnergy)


@pytest.mark.parametrize(("cpus", "status"), [
    (None, SessionStatus.OK), ((0, 1), SessionStatus.OK), ((1, 0), SessionStatus.OK),
    ((0,), SessionStatus.INVALID), ((4, 5), SessionStatus.INVALID), ((0, 1, 2), SessionStatus.INVALID),
])  # fmt: skip
def test_a_runner_on_other_cores_than_asked_is_invalid(cpus: tuple[int, ...] | None, status: SessionStatus) -> None:
    found = judge(recorded.record(), Expectation(measured_steps=5, cpus=cpus))
    assert found.status is status
    if status is SessionStatus.INVALID:
        assert "allowed the cores 0,1 instead of" in (found.reason or "")


@dataclass
class ScriptedDevice:
    """A device that says of itself what a list has, one answer for each question."""

    answers: list[str | None]
    entry: Any = field(default_factory=lambda: SimpleNamespace(cpus=None))
    places: Any = field(default_factory=lambda: SimpleNamespace(job=lambda _id: "/job"))
    transport: Any = field(default_factory=lambda: SimpleNamespace(remove=lambda *_a, **_k: None))

    def throttling(self) -> str | None:
        answer = self.answers.pop(0)
        if answer == "lost":
            raise DeviceLost("the device is gone")
        return answer


def judged_on(device: ScriptedDevice, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a session on that device is worth, which is well in all other respects."""

    def launch(_device: Any, _folder: str, _order: Any, listener: Any) -> ProcessEnd:
        listener.lines.extend(recorded.whole())
        return ProcessEnd(rc=0)

    monkeypatch.setattr(job, "_place", lambda *_: None)
    monkeypatch.setattr(job, "_opened", lambda _path: contextlib.nullcontext())
    monkeypatch.setattr(job, "_launch", launch)
    process = SimpleNamespace(name="s", log=None, state_after=None)
    monkeypatch.setattr(session, "_job", lambda *_: process)
    prepared = SimpleNamespace(plan=SimpleNamespace(steps=5, energy_window_s=10.0), expected_losses=NOTHING_EXPECTED)
    order: Any = SimpleNamespace(session_id="s", throttle_notes=(), prepared=prepared, lasting_s=0.0)
    plan = SensorPlan((), {}, (), {}, {})
    return run_session(device, order, [], plan, lambda *_: None)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("answers", [["too hot", None], [None, "too hot"], ["too hot", "too hot"]])
def test_throttling_that_the_device_tells_before_or_after_a_session_counts(
    answers: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged_on(ScriptedDevice(answers), monkeypatch)
    assert (found.status, found.reason) == (SessionStatus.THROTTLED, "too hot")


def test_a_device_that_tells_of_no_throttling_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged_on(ScriptedDevice([None, None]), monkeypatch).status is SessionStatus.OK


def test_a_device_that_is_lost_when_it_is_asked_about_throttling_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged_on(ScriptedDevice(["lost"]), monkeypatch).status is SessionStatus.LOST


def program(script: str, **more: Any) -> Sensor:
    command = (sys.executable, "-I", "-S", "-c", script)
    return Sensor("p", "power_mw", "", 1000.0, 10.0, "m", total=True, command=command, field="total ", **more)


PRINTS = "import time\nwhile True:\n print('total 2.5\\nnoise', flush=True)\n time.sleep(0.25)"


def idle_of(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> float | Unavailable:
    monkeypatch.setattr("suite.measuring.idle_device.IDLE_SECONDS", 3.0)  # to start a program
    device: Any = SimpleNamespace(transport=LocalTransport(grace_s=0.5))
    return idle_power_mw(device, [sensor], ["p"], {}, Clock(time.monotonic_ns, time.sleep))


def test_idle_power_of_a_program_is_the_mean_of_what_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    assert idle_of(program(PRINTS), monkeypatch) == pytest.approx(2500.0)


@pytest.mark.parametrize(("script", "why"), [
    ("raise SystemExit(3)", "ended with exit code 3 while the device was idle"),
    ("import time; time.sleep(600)", "0 of 1 power sensors gave samples"),
])  # fmt: skip
def test_idle_power_of_a_program_that_fails_says_why(script: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = idle_of(program(script), monkeypatch)
    assert isinstance(found, Unavailable)
    assert why in found.reason


@pytest.mark.parametrize(("line", "value"), [
    ("total 2.5", 2500.0), ("total: 3", None), ("total -1e0", -1000.0), ("other 5", None), ("total x", None),
])  # fmt: skip
def test_the_host_reads_a_programs_line_as_the_runner_does(line: str, value: float | None) -> None:
    assert value_in(line, program("")) == value


def test_an_idle_reading_may_be_below_the_range_but_never_above() -> None:
    sensor = program("", plausible=(200.0, 20_000.0))
    assert [value_in(f"total {watts}", sensor) for watts in ("0.1", "30", "-1")] == [100.0, None, None]
