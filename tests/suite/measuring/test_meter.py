"""External meters: programs of the host that print power, put on the clock of a device."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry, PowerSource
from devices.processes import ProcessEnd
from devices.sensors.spec import Discovery, Sensor
from devices.transports.local.transport import LocalTransport
from foundation.unavailable import Unavailable
from suite.energy.meter_program import MeterProgram, meter_rows, wait_for_samples
from suite.energy.session_energy import METER, SessionEnergy, session_energy
from suite.measuring.idle_device import Clock
from suite.measuring.meter import ClockLine, ClockReading, NoMeter, open_meter, read_clock
from suite.measuring.sensor_plan import sensor_plan
from suite.sessions.collect import collect
from suite.sessions.record import Cause, SensorTrace, SessionRecord
from suite.store.session_rows import load_samples, sample_values
from tests.support.suite import recorded_session as recorded

AHEAD_NS = 777_000_000_000
NO_IDLE = Unavailable("nobody looked")
QUICK = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.4)))
CLOCK = ["-c", f"import time; print(time.monotonic_ns() + {AHEAD_NS})", "ignored"]

BASE_W, SWING_W, PERIOD_S = 6.0, 2.0, 0.8
MODEL = f"""\
import math, sys, time
def now(): return time.{{clock}}()
while True:
    t = time.monotonic()
    print(now(), {BASE_W} + {SWING_W} * math.sin(2 * math.pi * t / {PERIOD_S}), flush=True)
    time.sleep(0.03)
"""


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script]


def model(clock: str = "monotonic") -> list[str]:
    return python(MODEL.format(clock=clock))


def known_j(begin_s: float, end_s: float) -> float:
    turn = 2 * math.pi / PERIOD_S
    return BASE_W * (end_s - begin_s) - SWING_W / turn * (math.cos(turn * end_s) - math.cos(turn * begin_s))


def device(command: list[str] | None, clock: str = "monotonic") -> Any:
    power = None if command is None else {"command": command, "clock": clock}
    values = {"name": "d", "kind": "linux", "transport": "local", "workdir": "/w", "power": power}
    return SimpleNamespace(
        entry=DeviceEntry.model_validate({key: value for key, value in values.items() if value is not None}),
        transport=LocalTransport(grace_s=0.5),
    )


def session(begin_ns: int, seconds: float, steps: int = 20) -> SessionRecord:
    """A session whose times are those of the device: ahead of the host's."""
    lines = [recorded.header(t_ns=begin_ns), recorded.load(t0_ns=begin_ns, t1_ns=begin_ns)]
    for index in range(steps):
        t0_ns = begin_ns + round(index * seconds / steps * 1e9)
        line = recorded.step(index)
        lines.append(line | {"t0_ns": t0_ns, "t1_ns": begin_ns + round((index + 1) * seconds / steps * 1e9)})
    lines.append(recorded.footer(t_ns=begin_ns + round(seconds * 1e9)))
    return collect("s", recorded.text(lines), ProcessEnd(rc=0), {})


def until(program: MeterProgram, count: int = 1) -> bool:
    return wait_for_samples(program, count, time.sleep, 20.0)


def until_ended(program: MeterProgram) -> str:
    end = time.monotonic() + 20
    while not program.ended:
        assert time.monotonic() < end, "the program didn't end within 20 s"
        time.sleep(0.02)
    return program.trouble or ""


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_a_meters_energy_is_the_integral_of_the_power_on_the_devices_clock(clock: str) -> None:
    board = device(model(clock), "epoch" if clock == "time" else "monotonic")
    runner = [sys.executable, "-I", "-S", *CLOCK]
    with open_meter(board, runner, QUICK) as meter:
        begin_ns = time.monotonic_ns() + AHEAD_NS
        time.sleep(2.0)
        record = meter.joined(session(begin_ns, 2.0))
    energy = session_energy(record, [METER], {}, NO_IDLE)
    assert isinstance(energy, SessionEnergy), energy
    begin_s = (begin_ns - AHEAD_NS) / 1e9
    assert energy.gross_mj * energy.steps / 1e3 == pytest.approx(known_j(begin_s, begin_s + 2.0), rel=0.02)
    assert energy.steps == 20


def test_half_the_round_trip_is_part_of_the_alignment_error() -> None:
    with open_meter(device(model()), [sys.executable, "-I", "-S", *CLOCK], QUICK) as meter:
        begin_ns = time.monotonic_ns() + AHEAD_NS
        time.sleep(0.3)
        record = meter.joined(session(begin_ns, 0.3))
    error_ms = record.samples[METER].clock_error_ms
    energy = session_energy(record, [METER], {}, NO_IDLE)
    assert isinstance(energy, SessionEnergy)
    # Starting an interpreter is the round trip here.
    assert 0.5 < error_ms <= energy.alignment_error_ms


def test_idle_power_is_the_meters_mean() -> None:
    """Of any two readings in turn, however far apart they come on a busy host."""
    script = f"import itertools, time\nfor watts in itertools.cycle(({BASE_W - 2}, {BASE_W + 2})):\n"
    script += " print(time.monotonic(), watts, flush=True)\n time.sleep(0.25)"
    with open_meter(
        device(python(script)), [sys.executable, "-I", "-S", *CLOCK], Clock(sleep=lambda _s: time.sleep(2.0))
    ) as meter:
        idle = meter.idle_power_mw([], sensor_plan(Discovery()))
    assert idle == pytest.approx(BASE_W * 1e3, rel=0.05)


def test_without_a_meter_nothing_changes() -> None:
    with open_meter(device(None), ["runner"], QUICK) as meter:
        assert isinstance(meter, NoMeter)
        record = recorded.record()
        assert meter.joined(record) is record


def test_the_meter_is_the_only_total_of_the_plan() -> None:
    rail = Sensor("VDD_IN", "power_mw", "/p", 1.0, 10.0, "rail", total=True)
    plan = sensor_plan(Discovery((rail,)), PowerSource(command=("meter",)))
    assert plan.energy_sensors == (METER,)
    assert METER not in plan.quantities  # the runner doesn't sample it
    assert [fact.name for fact in plan.facts] == ["VDD_IN", METER]
    assert sensor_plan(Discovery((rail,)), PowerSource(scale=2.0)).energy_sensors == ("VDD_IN",)


@pytest.mark.parametrize(("command", "why"), [
    (python("import sys; print('no port', file=sys.stderr); sys.exit(3)"),
     "ended with exit code 3 after 0 readings: no port"),
    (python("import os; os.kill(os.getpid(), 9)"), "was ended by SIGKILL after 0 readings"),
    (["/nowhere/meter"], "can't be started because it doesn't exist"),
    (python("print('x' * 5000)"), "printed a line of over 4096 bytes"),
    (python("while True: print('1 2')"), "lines in a second and was ended"),
    (python("print('watts 5'); raise SystemExit(0)"), "printed 'watts 5', not `seconds watts`"),
])  # fmt: skip
def test_a_program_that_fails_says_why(command: list[str], why: str) -> None:
    with MeterProgram(command) as program:
        assert why in until_ended(program)
    assert not program.samples()


@pytest.mark.parametrize("line", [
    "1", "1 2 3", "a b", "1 nan", "inf 5", "1 -inf", "1 1e9", "1_0 5", "0x10 5", "\\x1b[2J 5", "1,5 2", "9" * 60 + " 1",
])  # fmt: skip
def test_a_line_that_is_no_reading_is_left_out_and_named(line: str) -> None:
    script = f"import time\nprint('{line}', flush=True)\ntime.sleep(600)"
    with MeterProgram(python(script)) as program:
        wait_for_a_line(program)
        assert "not `seconds watts`" in (program.trouble or "")
        assert "\x1b" not in (program.trouble or "")
    assert not program.samples()


def wait_for_a_line(program: MeterProgram) -> None:
    end = time.monotonic() + 20
    while "printed nothing" in (program.trouble or ""):
        assert time.monotonic() < end, "the program said nothing within 20 s"
        time.sleep(0.02)


@pytest.mark.parametrize(("clock", "printed"), [("monotonic", "time"), ("epoch", "monotonic")])
def test_the_wrong_clock_is_recognised_and_the_right_one_offered(clock: str, printed: str) -> None:
    script = f"import time\nwhile True:\n print(time.{printed}(), 5, flush=True)\n time.sleep(0.05)"
    with MeterProgram(python(script), clock) as program:  # type: ignore[arg-type]
        wait_for_a_line(program)
        assert f"set `clock: {'epoch' if clock == 'monotonic' else 'monotonic'}`" in (program.trouble or "")
    assert not program.samples()


def test_times_that_run_backwards_are_left_out() -> None:
    script = (
        "import time\nt = time.monotonic()\nfor d in (0, 1, .5, 2): print(t - 5 + d, d, flush=True)\ntime.sleep(600)"
    )
    with MeterProgram(python(script)) as program:
        until(program, 3)
        assert [sample.watts for sample in program.samples()] == [0, 1, 2]


def test_a_program_and_its_children_end_with_the_block(tmp_path: Path) -> None:
    script = 'sleep 600 & echo $! > "$1/child"; echo $$ > "$1/self"; echo "0 0"; trap "" TERM; wait'
    with MeterProgram(["sh", "-c", script, "sh", str(tmp_path)]) as program:
        wait_for_a_line(program)
    pids = [int((tmp_path / name).read_text()) for name in ("child", "self")]
    for pid in pids:
        end = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < end, f"process {pid} is still there"
            time.sleep(0.02)


def joined(command: list[str], record: SessionRecord, clock: list[str] | None = None) -> SessionRecord:
    runner = [sys.executable, "-I", "-S", *(clock or CLOCK)]
    with open_meter(device(command), runner, Clock(sleep=lambda _s: time.sleep(0.02))) as meter:
        return meter.joined(record)


@pytest.mark.parametrize(("command", "why"), [
    (python("raise SystemExit('unplugged')"), "unplugged"),
    (python("import time; time.sleep(600)"), "printed nothing"),
    (python("import time; print('hello', flush=True); time.sleep(600)"), "not `seconds watts`"),
])  # fmt: skip
def test_a_faulty_meter_costs_the_energy_and_not_the_session(
    command: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.measuring.meter._FIRST_READINGS_S", 3.0)
    monkeypatch.setattr("suite.measuring.meter._LAST_READING_S", 0.1)
    record = joined(command, session(time.monotonic_ns() + AHEAD_NS, 0.1))
    energy = session_energy(record, [METER], {}, NO_IDLE)
    assert isinstance(energy, Unavailable)
    assert why in energy.reason
    assert record.cause is Cause.COMPLETED


def test_a_meter_that_dies_during_the_session_leaves_what_it_has_measured(tmp_path: Path) -> None:
    note = tmp_path / "over"
    script = (
        "import time\nfor _ in range(40): print(time.monotonic(), 5, flush=True); time.sleep(0.01)\n"
        f"open({str(note)!r}, 'w').close()\nraise SystemExit('gone')"
    )
    with open_meter(device(python(script)), [sys.executable, "-I", "-S", *CLOCK], QUICK) as meter:
        begin_ns = time.monotonic_ns() + AHEAD_NS
        end = time.monotonic() + 20
        while not note.exists():
            assert time.monotonic() < end, "the meter didn't end within 20 s"
            time.sleep(0.02)
        time.sleep(0.4)
        record = meter.joined(session(begin_ns, 0.8))
    assert record.samples[METER].values
    assert "gone" in record.sensor_errors[METER]


@pytest.mark.parametrize(
    "clock", [["-c", "print('abc')", "x"], ["-c", "raise SystemExit(1)", "x"], ["-c", "print(-1)", "x"]]
)
def test_a_runner_that_does_not_tell_its_clock_makes_the_meter_unavailable(clock: list[str]) -> None:
    record = joined(model(), session(1, 0.1), clock)
    assert "doesn't report its clock" in record.sensor_errors[METER]


def test_a_lost_device_is_not_asked_for_its_clock() -> None:
    record = replace(session(1, 0.1), cause=Cause.LOST)
    assert "before the device's clock could be read again" in joined(model(), record).sensor_errors[METER]


class Link:
    """A device whose clock is ahead, reached over a link whose ways there and back take the times that are given."""

    def __init__(self, ways_ns: list[tuple[int, int]], ahead_ns: int) -> None:
        self.ways, self.ahead_ns, self.now_ns = iter(ways_ns), ahead_ns, 10**9

    def monotonic_ns(self) -> int:
        return self.now_ns

    def run(self, argv: list[str], *, timeout_s: float) -> Any:
        there, back = next(self.ways)
        self.now_ns += there
        reading_ns = self.now_ns + self.ahead_ns
        self.now_ns += back
        return SimpleNamespace(end=ProcessEnd(0), stdout=f"{reading_ns}\n")


def test_the_reading_with_the_shortest_round_trip_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link([(9_000_000, 1_000_000), (900_000, 100_000), (5_000_000, 5_000_000)], ahead_ns=123_456_789)
    monkeypatch.setattr("suite.measuring.meter.time.monotonic_ns", link.monotonic_ns)
    reading = read_clock(SimpleNamespace(transport=link), ["runner", "--clock"], probes=3)  # type: ignore[arg-type]
    assert isinstance(reading, ClockReading)
    assert reading.error_ns == 500_000
    # However unequal the two ways: the truth lies within the error.
    assert abs(reading.offset_ns - 123_456_789) <= reading.error_ns


def test_a_device_that_goes_away_while_its_clock_is_read_is_a_reason() -> None:
    class Gone:
        def run(self, *_: Any, **__: Any) -> Any:
            raise DeviceLost("the device is gone")

    found = read_clock(SimpleNamespace(transport=Gone()), ["runner"])  # type: ignore[arg-type]
    assert isinstance(found, Unavailable)
    assert "the device is gone" in found.reason


def test_drift_is_interpolated_between_the_readings_before_and_after() -> None:
    line = ClockLine(ClockReading(0, 1000, 10), ClockReading(10**10, 3000, 50))
    assert [line.device_ns(t) for t in (0, 5 * 10**9, 10**10)] == [1000, 5 * 10**9 + 2000, 10**10 + 3000]
    assert line.error_ms == pytest.approx(50e-6)


def test_the_check_shows_what_a_meter_gives_and_what_is_wrong_with_one() -> None:
    (row,) = meter_rows(device(model()).entry)
    assert row.state == "ok"
    assert "readings per second" in row.detail
    (row,) = meter_rows(device(python("raise SystemExit('no such port')")).entry)
    assert (row.state, "no such port" in row.detail) == ("unavailable", True)
    assert "seconds watts" in row.remedy
    assert meter_rows(device(None).entry) == ()


def test_a_meters_trace_and_its_clock_error_survive_the_store() -> None:
    trace = SensorTrace(METER, "power_mw", (1, 2, 3), (5.0, 6.0, 7.0), clock_error_ms=1.25)
    rows = sample_values(replace(recorded.record(), samples={METER: trace}))
    _, traces = load_samples(rows)
    assert traces[METER] == trace
    assert json.loads(str(rows[-1]["layout"]))[-1][0] == "clock_error_ms"
