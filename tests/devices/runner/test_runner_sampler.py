"""Sensors beside the steps."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time

import pytest

SECOND_NS = 10**9
SENSOR = {"name": "s", "quantity": "temperature_mc", "scale": 1.0, "rate_hz": 50}
LASTING = {"min_measured_seconds": 1.0}  # fifty deadlines, of which a busy host may miss most


@pytest.fixture
def run(run):
    """Leaves the output of lasting sessions unread: what matters here goes on beside the steps."""
    return lambda job: run(job, job.get("min_measured_seconds", 0.0))


def values(outcome, name="s"):
    return [sample["value"] for sample in outcome.of("sample") if sample["sensor"] == name]


def test_samples_are_on_the_clock_of_the_steps_and_in_order(run, job, tmp_path):
    (tmp_path / "temp").write_text("41250\n")
    outcome = run(job | LASTING | {"sensors": [SENSOR | {"path": "temp"}]})
    times = [sample["t_ns"] for sample in outcome.of("sample")]
    assert times == sorted(times)
    assert outcome.of("header")[0]["t_ns"] < times[0]
    assert times[-1] < outcome.footer["t_ns"]
    assert set(values(outcome)) == {41250}


def test_no_sampler_runs_without_sensors(run, job):
    outcome = run(job | LASTING | {"sensors": []})
    assert outcome.of("sample") == []
    assert outcome.footer["sampler_cpu_ns"] == 0


def test_the_sampler_reports_its_own_cost(run, job):
    sensor = SENSOR | {"path": "/proc/self/status", "field": "VmRSS"}
    outcome = run(job | LASTING | {"sensors": [sensor]})
    elapsed = outcome.footer["t_ns"] - outcome.of("header")[0]["t_ns"]
    assert 0 < outcome.footer["sampler_cpu_ns"] < elapsed


def test_missed_deadlines_are_left_out_and_none_is_used_twice(started, job, tmp_path):
    (tmp_path / "temp").write_text("1")
    process = started(job | {"min_measured_seconds": 600.0, "sensors": [SENSOR | {"path": "temp"}]})
    before = [process.stdout.readline() for _ in range(3)]  # the program runs
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)  # twenty deadlines
    resumed_ns = time.monotonic_ns()
    process.send_signal(signal.SIGCONT)
    times = []
    for event in map(json.loads, itertools.chain(before, process.stdout)):
        if event["event"] == "sample":
            times.append(event["t_ns"])
            if len(times) > 9 and times[-9] > resumed_ns:  # enough of them, however late they come on a busy host
                break
    # A sample comes at or after its deadline and before the next one's: however late any of them is, n samples span
    # more than n - 2 periods.
    period = SECOND_NS // SENSOR["rate_hz"]
    spans = [(later - first, j - i) for i, first in enumerate(times) for j, later in enumerate(times) if j > i]
    assert len(times) > 5
    assert all(span > (apart - 1) * period for span, apart in spans)


@pytest.mark.parametrize(("text", "extra", "value"), [
    ("first line\nVmHWM: 7 kB\nVmRSS:\t  1234 kB\n", {"field": "VmRSS"}, 1234),
    ("label\n -273.5 C", {}, -273.5),
    ("12", {"scale": 0.25}, 3),
    ("5000 mV", {"times": "current", "scale": 0.001}, 10000),
    ("1.5e3", {}, 1500),
])  # fmt: skip
def test_a_value_is_the_first_number_scaled(run, job, tmp_path, text, extra, value):
    (tmp_path / "sensor").write_text(text)
    (tmp_path / "current").write_text("2000\n")
    outcome = run(job | LASTING | {"sensors": [SENSOR | {"path": "sensor"} | extra]})
    assert set(values(outcome)) == {value}


def test_a_sensor_is_read_anew_each_time(run, job):
    sensor = SENSOR | {"path": "/proc/uptime", "rate_hz": 100}
    found = values(run(job | LASTING | {"sensors": [sensor]}))
    assert found == sorted(found)
    assert found[0] < found[-1]


@pytest.mark.parametrize(("text", "extra", "reason"), [
    (None, {}, "No such file"),
    ("no digits here", {}, "no number"),
    ("", {}, "no number"),
    ("VmHWM: 1 kB", {"field": "VmRSS"}, "no line starts with VmRSS"),
    ("3", {"times": "missing"}, "No such file"),
])  # fmt: skip
def test_an_unreadable_sensor_is_reported_and_its_value_never_made_up(run, job, tmp_path, text, extra, reason):
    if text is not None:
        (tmp_path / "sensor").write_text(text)
    outcome = run(job | LASTING | {"sensors": [SENSOR | {"path": "sensor"} | extra]})
    (error,) = outcome.of("sensor_error")
    assert values(outcome) == []
    assert error["errors"] > 1
    assert reason in error["reason"]
    assert outcome.returncode == 0


def test_one_bad_sensor_does_not_silence_the_others(run, job, tmp_path):
    (tmp_path / "good").write_text("5")
    sensors = [SENSOR | {"path": "bad", "name": "bad"}, SENSOR | {"path": "good", "name": "good"}]
    outcome = run(job | LASTING | {"sensors": sensors})
    assert set(values(outcome, "good")) == {5}
    assert [error["sensor"] for error in outcome.of("sensor_error")] == ["bad"]


def test_a_file_that_refuses_every_reading_is_reported_with_the_systems_reason(run, job):
    """Address 0 is never mapped: the system's answer is EIO, as of a bus whose device doesn't answer."""
    outcome = run(job | LASTING | {"sensors": [SENSOR | {"path": "/proc/self/mem"}]})
    (error,) = outcome.of("sensor_error")
    assert values(outcome) == []
    assert error["reason"] == "/proc/self/mem: Input/output error."
    assert outcome.footer["cause"] == "completed"


@pytest.mark.parametrize("place", ["path", "times"])
def test_a_sensor_that_goes_away_in_mid_session_is_reported_and_the_others_go_on(started, job, tmp_path, place):
    """The status of a process that ends stands for it: the open descriptor answers ESRCH, as a driver's ENODEV."""
    (tmp_path / "good").write_text("5")
    with subprocess.Popen(["sleep", "600"]) as gone:
        path = f"/proc/{gone.pid}/stat"
        failing = {"path": path} if place == "path" else {"path": "good", "times": path}
        sensors = [SENSOR | {"name": "gone"} | failing, SENSOR | {"path": "good", "name": "good"}]
        process = started(job | {"sensors": sensors, "min_measured_seconds": 3.0})
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1].get("sensor") == "gone" and gone.poll() is None:
                gone.kill()
                gone.wait()
    errors = [event for event in events if event["event"] == "sensor_error"]
    assert [error["sensor"] for error in errors] == ["gone"]
    assert errors[0]["reason"] == f"{path}: No such process."
    assert errors[0]["errors"] > 1
    samples = [event for event in events if event["event"] == "sample"]
    number = {sample["value"] for sample in samples if sample["sensor"] == "gone"}
    assert number == {gone.pid if place == "path" else 5 * gone.pid}  # no reading from later
    last = {sample["sensor"]: sample["t_ns"] for sample in samples}
    assert last["good"] > last["gone"] + SECOND_NS // 4
    assert (events[-2]["cause"], process.wait(timeout=60)) == ("completed", 0)


def test_a_slow_sensor_does_not_hold_up_the_end(started, job, tmp_path):
    (tmp_path / "temp").write_text("1")
    process = started(job | {"sensors": [SENSOR | {"path": "temp", "rate_hz": 0.001}]})
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_samples_are_printed_when_the_session_fails(run, job):
    sensor = SENSOR | {"path": "/proc/self/status", "field": "VmRSS"}
    outcome = run(job | LASTING | {"sensors": [sensor], "state_out": "nowhere/x"})
    assert values(outcome)
    assert outcome.footer["cause"] == "error"
