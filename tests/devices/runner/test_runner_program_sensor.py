"""Sensors that are programs: their lines become samples, and nothing of them outlives the runner."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.support.devices.real_processes import is_running, wait_until

LASTING = {"min_measured_seconds": 2.0}  # a busy host may take one to start a program
PROGRAM = {"name": "s", "quantity": "power_mw", "scale": 1.0, "rate_hz": 20}


@pytest.fixture
def run(run):
    """Sessions that last are not read meanwhile: what counts here goes on beside the steps."""
    return lambda job: run(job, job.get("min_measured_seconds", 0.0))


def shell(script, *arguments):
    return PROGRAM | {"command": ["sh", "-c", script, "sh", *arguments]}


def values(outcome, name="s"):
    return [sample["value"] for sample in outcome.of("sample") if sample["sensor"] == name]


def reason(outcome):
    (error,) = outcome.of("sensor_error")
    return error["reason"]


def pids_in(folder):
    """Numbers that programs wrote into files named pid*, once each file is whole."""
    return [int(text) for path in folder.glob("pid*") if (text := path.read_text()).endswith("\n")]


def test_lines_of_a_program_become_samples_on_the_clock_of_the_steps(run, job):
    sensor = shell("while :; do echo 2.5; sleep 0.02; done") | {"scale": 1000.0}
    outcome = run(job | LASTING | {"sensors": [sensor]})
    times = [sample["t_ns"] for sample in outcome.of("sample")]
    assert set(values(outcome)) == {2500.0}
    assert times == sorted(times)
    assert outcome.of("header")[0]["t_ns"] <= times[0] <= times[-1] <= outcome.footer["t_ns"]
    assert outcome.of("sensor_error") == []
    assert outcome.returncode == 0


LINES = {
    "temp=48.3'C": ({"field": "temp="}, 48.3),
    "frequency(48)=1500345728": ({"field": "frequency(48)="}, 1500345728),
    "throttled=0x50005": ({"field": "throttled="}, 0x50005),
    "Thermal Status: 3": ({"field": "Thermal Status:"}, 3),
    "  -1.5e2 mW": ({}, -150),
}


def test_a_line_gives_the_number_it_begins_with_after_the_field(run, job):
    script = 'while :; do echo "noise 7 before"; printf "%s\\n" "$1"; sleep 0.1; done'
    without_field = script.replace('echo "noise 7 before"; ', "")
    sensors = [
        shell(script if extra else without_field, line) | extra | {"name": f"s{number}"}
        for number, (line, (extra, _value)) in enumerate(LINES.items())
    ]
    outcome = run(job | LASTING | {"sensors": sensors})
    found = {line: set(values(outcome, f"s{number}")) for number, line in enumerate(LINES)}
    assert found == {line: {value} for line, (_extra, value) in LINES.items()}
    assert outcome.of("sensor_error") == []


GARBAGE = ("watts", "5errors", "nan", "inf", "1,5", "--3", "- 3", "\x1b[2J", "1e999")


def test_a_line_without_a_number_is_an_error_and_never_a_sample(run, job):
    script = 'while :; do echo 7; printf "%s\\n" "$1"; sleep 0.1; done'
    sensors = [shell(script, line) | {"name": f"s{number}"} for number, line in enumerate(GARBAGE)]
    outcome = run(job | LASTING | {"sensors": sensors})
    reasons = {error["sensor"]: error["reason"] for error in outcome.of("sensor_error")}
    for number, line in enumerate(GARBAGE):
        assert set(values(outcome, f"s{number}")) == {7}, line
        assert "no number in its line" in reasons[f"s{number}"], line
        assert "\x1b" not in reasons[f"s{number}"]


def test_a_program_that_ends_early_keeps_its_samples_and_its_last_message(run, job):
    outcome = run(job | LASTING | {"sensors": [shell("echo 1; echo 2; echo no such bus >&2; exit 3")]})
    assert values(outcome) == [1, 2]
    assert reason(outcome) == "sh: it ended with exit code 3 after 2 samples: no such bus."
    assert outcome.returncode == 0


def test_a_killed_program_is_reported_with_its_signal(run, job):
    assert "ended by signal 9 after 1 samples" in reason(
        run(job | LASTING | {"sensors": [shell("echo 1; kill -9 $$")]})
    )


@pytest.mark.parametrize(("program", "why"), [
    ("/nowhere/meter", "No such file"),
    ("no-such-meter-anywhere", "perhaps not installed"),
    ("/etc/passwd", "Permission denied"),
])  # fmt: skip
def test_a_program_that_cannot_be_started_is_reported_and_the_session_goes_on(run, job, program, why):
    outcome = run(job | LASTING | {"sensors": [PROGRAM | {"command": [program]}]})
    assert program in reason(outcome)
    assert why in reason(outcome)
    assert len(outcome.of("step")) >= 7
    assert outcome.returncode == 0


@pytest.mark.parametrize(("script", "why"), [
    ("while :; do echo 1; done", "more than 1000 lines in a second and was ended"),
    ("tr '\\0' x < /dev/zero", "a line of over 4096 bytes and was ended"),
])  # fmt: skip
def test_a_flood_is_ended_and_the_samples_before_it_stay(run, job, script, why):
    outcome = run(job | LASTING | {"sensors": [shell(f"echo 5; {script}")]})
    assert why in reason(outcome)
    assert values(outcome)[0] in (1, 5)
    assert len(values(outcome)) <= 1000
    assert outcome.returncode == 0


def test_a_flood_of_error_output_does_no_harm(run, job):
    outcome = run(job | LASTING | {"sensors": [shell("echo 5; yes noise >&2")]})
    assert values(outcome) == [5]
    assert outcome.of("sensor_error") == []


@pytest.mark.parametrize(("script", "extra", "why"), [
    ("exec sleep 600", {}, "it printed nothing"),
    ("echo a; echo b; exec sleep 600", {"field": "watts"}, "none of its 2 lines starts with watts"),
])  # fmt: skip
def test_a_program_that_prints_nothing_is_reported(run, job, script, extra, why):
    outcome = run(job | LASTING | {"sensors": [shell(script) | extra]})
    assert values(outcome) == []
    assert why in reason(outcome)


def test_values_outside_the_range_are_errors_for_programs_and_files_alike(run, job, tmp_path):
    (tmp_path / "gauge").write_text("-2147483648")
    file = PROGRAM | {"name": "file", "path": "gauge", "range": [200, 20000]}
    sensor = shell("while :; do echo 100; echo 300; sleep 0.05; done") | {"range": [200, 20000]}
    outcome = run(job | LASTING | {"sensors": [sensor, file]})
    assert set(values(outcome)) == {300}
    assert values(outcome, "file") == []
    reasons = {error["sensor"]: error["reason"] for error in outcome.of("sensor_error")}
    assert "100 is outside of 200 to 20000" in reasons["s"]
    assert "-2.14748e+09 is outside of" in reasons["file"]


def test_a_program_and_what_it_started_end_with_the_session(run, job, tmp_path):
    script = (
        'sleep 600 & echo $! > "$1/pid1"; echo $$ > "$1/pid2"; trap "" TERM HUP; while :; do echo 1; sleep 0.05; done'
    )
    outcome = run(job | LASTING | {"sensors": [shell(script, str(tmp_path))]})
    assert outcome.returncode == 0
    pids = pids_in(tmp_path)
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))  # the kernel takes a moment to bury what was killed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_program_and_what_it_started_end_with_a_runner_that_is_killed(started, job, tmp_path, number):
    script = 'sleep 600 & echo $! > "$1/pid1"; echo $$ > "$1/pid2"; while :; do echo 1; sleep 0.05; done'
    sensors = [shell(script, str(tmp_path)), PROGRAM | {"name": "t", "command": ["sleep", "600"]}]
    process = started(job | {"min_measured_seconds": 600.0, "sensors": sensors})
    wait_until(lambda: len(pids_in(tmp_path)) == 2)
    os.kill(process.pid, number)
    process.stdout.read()  # nobody else may hold the runner's output open
    process.wait(timeout=20)
    wait_until(lambda: not any(is_running(pid) for pid in pids_in(tmp_path)))


def test_a_program_is_not_pinned_to_the_cores_of_the_steps(run, job):
    (first, *_) = os.sched_getaffinity(0)
    cores = shell("unset OMP_NUM_THREADS; while :; do nproc; sleep 0.05; done")  # which nproc believes
    outcome = run(job | LASTING | {"cpus": [first], "sensors": [cores]})
    assert outcome.of("header")[0]["cpus_allowed"] == [first]
    assert set(values(outcome)) == {len(os.sched_getaffinity(0))}


def test_two_programs_and_a_file_are_sampled_side_by_side(run, job, tmp_path):
    (tmp_path / "temp").write_text("41000")
    sensors = [
        shell("while :; do echo 1; sleep 0.05; done") | {"name": "one"},
        PROGRAM | {"name": "file", "path": "temp"},
        shell("while :; do echo 2; sleep 0.05; done") | {"name": "two"},
    ]
    outcome = run(job | LASTING | {"sensors": sensors})
    assert {name: set(values(outcome, name)) for name in ("one", "file", "two")} == {
        "one": {1},
        "file": {41000},
        "two": {2},
    }


def test_sensors_of_the_same_command_share_one_program(run, job, tmp_path):
    script = 'echo $$ > "$1/pid$$"; while :; do echo a=1; echo b=2; sleep 0.05; done'
    sensors = [shell(script, str(tmp_path)) | {"name": name, "field": f"{name}="} for name in ("a", "b")]
    outcome = run(job | LASTING | {"sensors": [*sensors, shell(script + " ", str(tmp_path)) | {"field": "a="}]})
    assert {name: set(values(outcome, name)) for name in ("a", "b", "s")} == {"a": {1}, "b": {2}, "s": {1}}
    assert len(pids_in(tmp_path)) == 2
    assert outcome.of("sensor_error") == []


def reasons_of_two(outcome):
    return {error["sensor"]: error["reason"] for error in outcome.of("sensor_error")}


def test_the_end_of_a_shared_program_is_reported_for_each_of_its_sensors(run, job):
    sensors = [shell("echo a=1; echo a=1; echo b=2; exit 3") | {"name": name, "field": f"{name}="} for name in "ab"]
    outcome = run(job | LASTING | {"sensors": sensors})
    assert reasons_of_two(outcome) == {
        "a": "sh: it ended with exit code 3 after 2 samples.",
        "b": "sh: it ended with exit code 3 after 1 samples.",
    }


def test_only_the_sensor_that_a_shared_program_leaves_out_is_missing(run, job):
    script = "echo a=1; echo c=x; exec sleep 600"
    outcome = run(job | LASTING | {"sensors": [shell(script) | {"name": n, "field": f"{n}="} for n in "abc"]})
    assert values(outcome, "a") == [1]
    assert reasons_of_two(outcome) == {
        "b": "sh: none of its 2 lines starts with b=.",
        "c": 'sh: no number in its line "c=x".',
    }


def test_a_shared_program_that_cannot_be_started_is_reported_for_each_sensor(run, job):
    outcome = run(job | {"sensors": [PROGRAM | {"name": name, "command": ["/nowhere/meter"]} for name in "ab"]})
    assert {"No such file" in reason for reason in reasons_of_two(outcome).values()} == {True}
    assert set(reasons_of_two(outcome)) == {"a", "b"}


def test_a_shared_program_may_print_as_many_lines_as_its_sensors_need_together(run, job):
    script = 'i=0; while [ $i -lt 3000 ]; do echo "a=1"; i=$((i + 1)); done; echo b=2; exec sleep 600'
    sensors = [shell(script) | {"name": name, "field": f"{name}=", "rate_hz": 100} for name in "ab"]
    outcome = run(job | LASTING | {"sensors": sensors})
    assert (len(values(outcome, "a")), values(outcome, "b")) == (3000, [2])


def test_what_a_program_costs_is_part_of_the_samplers_cost(run, job):
    idle = run(job | LASTING | {"sensors": [shell("echo 1; exec sleep 600")]})
    busy = run(job | LASTING | {"sensors": [shell("echo 1; while :; do :; done")]})
    assert idle.footer["sampler_cpu_ns"] * 4 < busy.footer["sampler_cpu_ns"]


@pytest.mark.parametrize(("sensor", "why"), [
    (PROGRAM, "exactly one of path and command"),
    (PROGRAM | {"path": "x", "command": ["y"]}, "exactly one of path and command"),
    (PROGRAM | {"command": []}, "names no program"),
    (PROGRAM | {"command": [1]}, "must be a list of strings"),
    (PROGRAM | {"command": "sh -c true"}, "must be a list"),
    (PROGRAM | {"command": ["sh"], "times": "x"}, "times is not a key"),
    (PROGRAM | {"path": "x", "range": [2, 1]}, "the lowest and the highest"),
    (PROGRAM | {"path": "x", "range": ["a", 1]}, "must hold numbers"),
])  # fmt: skip
def test_a_sensor_that_makes_no_sense_is_refused(run, job, sensor, why):
    outcome = run(job | {"sensors": [sensor]})
    assert why in outcome.footer["reason"]
    assert outcome.footer["stage"] == "job"


def test_the_clock_is_the_monotonic_one_of_the_machine(runner):
    before = time.monotonic_ns()
    done = subprocess.run([runner, "--clock"], capture_output=True, text=True, timeout=60, check=True)
    assert before <= int(done.stdout) <= time.monotonic_ns()
