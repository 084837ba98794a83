"""Invalid jobs: a sentence, the stage, and exit code 1."""

from __future__ import annotations

import json
import os
import subprocess

import pytest


def refused(outcome, stage):
    assert outcome.returncode == 1
    assert outcome.events[-1] == {"event": "end", "lines": len(outcome.events) - 1}
    assert (outcome.footer["cause"], outcome.footer["stage"], outcome.of("step")) == ("error", stage, [])
    return outcome.footer["reason"]


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "expected a value at line 1, column 1"),
    ('{"schema": 1,\n "session" "x"}', "expected ':' at line 2, column 12"),
    ('{"a": 1, "a": 2}', 'key "a" occurs twice'),
    ('{"a": 01}', "leading zero"),
    ('{"a": 1.}', "expected a digit"),
    ('{"a": 1e999}', "too large for float64"),
    ('{"a": "\\x"}', "unknown escape"),
    ('{"a": "\\ud800"}', "half of a surrogate pair"),
    ('{"a": "line\nbreak"}', "control character"),
    ('{"a": "no end', "an unterminated string"),
    ('{"a": [1, 2,]}', "expected a value"),
    ("{} {}", "text after the value"),
    ("[" * 100, "nesting deeper than 32"),
])  # fmt: skip
def test_text_that_is_not_json_is_refused_with_its_position(run, text, complaint):
    reason = refused(run(text), "job")
    assert "is not JSON" in reason
    assert complaint in reason


def test_text_that_is_not_utf8_is_refused(run, job, tmp_path, runner):
    path = tmp_path / "latin.json"
    path.write_bytes(b'{"session": "\xe9"}')
    done = subprocess.run([runner, path], capture_output=True, text=True, timeout=60, check=False)
    assert "not UTF-8" in json.loads(done.stdout.splitlines()[0])["reason"]


def test_escapes_are_understood(run, job):
    text = json.dumps(job).replace('"s-1"', '"\\u00e9\\ud83d\\ude00\\/\\n"')
    assert run(text).of("header")[0]["session"] == "é\U0001f600/\n"


def test_a_job_of_many_megabytes_is_refused_unread(run):
    assert "more than the 4194304 allowed" in refused(run(" " * (5 << 20)), "job")


@pytest.mark.parametrize(("change", "complaint"), [
    ({"schema": 2}, "job.schema"),
    ({"surprise": 1}, "job.surprise is not a key"),
    ({"session": ""}, "job.session"),
    ({"steps": -1}, "job.steps"),
    ({"steps": 1.5}, "job.steps must be a whole number"),
    ({"threads": 0}, "job.threads"),
    ({"cpus": []}, "job.cpus is empty"),
    ({"cpus": [1000]}, "cpus"),
    ({"outputs": {"loss": 0}}, "job.outputs.loss is not a key"),
    ({"warm_up": {"min_steps": 3, "max_steps": 2, "max_seconds": 1, "tolerance": 0}}, "max_steps is less"),
    ({"warm_up": {"min_steps": 3, "max_steps": 4, "max_seconds": 1}}, "job.warm_up.tolerance is missing"),
    ({"sensors": [{"name": "a", "quantity": "b", "path": "/c", "scale": 1, "rate_hz": 0}]}, "job.sensors[0].rate_hz"),
    ({"sensors": [{}] * 257}, "job.sensors has 257 items; the limit is 256"),
    ({"shorter": ["a"] * 257}, "job.shorter has 257 items"),
    ({"inputs": [{}] * 257}, "job.inputs has 257 items"),
])  # fmt: skip
def test_a_wrong_member_is_named(run, job, change, complaint):
    assert complaint in refused(run(job | change), "job")


@pytest.mark.parametrize("key", ["program", "method", "inputs", "outputs", "warm_up", "steps", "threads"])
def test_a_missing_member_is_named(run, job, key):
    del job[key]
    assert f"job.{key} is missing" in refused(run(job), "job")


@pytest.mark.parametrize(("change", "complaint"), [
    ({"dtype": "float8"}, 'unknown type "float8"'),
    ({"value": [1.0, 2.0]}, "has 2 values, but its shape needs 1"),
    ({"value": [1e39]}, "too large for float32"),
    ({"value": ["x"]}, "must be a number"),
    ({"step_key": {"seed": 1}}, "exactly one of file, step_key and value"),
    ({"shape": [-1]}, "job.inputs[2].shape"),
    ({"shape": [65536, 65536]}, "larger than 4 GiB"),
])  # fmt: skip
def test_a_wrong_input_is_named(run, job, change, complaint):
    job["inputs"][2] |= change
    assert complaint in refused(run(job), "job")


def test_a_number_of_inputs_that_the_program_does_not_take_is_refused(run, job):
    job["inputs"].pop()
    assert refused(run(job), "input") == "The job has 2 inputs, but the program takes 3."


@pytest.mark.parametrize("change", [
    {"shape": [1], "value": [0.5]},
    {"dtype": "float64"},
    {"dtype": "int64", "value": [1]},
])  # fmt: skip
def test_an_input_of_another_shape_or_type_is_refused(run, job, change):
    job["inputs"][2] |= change
    reason = refused(run(job), "input")
    assert reason.startswith("Input 2 (lr) is ")
    assert reason.endswith("the program takes float32 [].")


def test_an_input_file_that_is_missing_is_refused(run, job):
    job["inputs"][0]["file"] = "nowhere.bin"
    assert "No such file" in refused(run(job), "input")


def test_an_input_file_that_is_too_short_is_refused_with_both_sizes(run, job):
    job["inputs"][0]["batches"] = 3
    assert "has 48 bytes, but input x needs 72" in refused(run(job), "input")


@pytest.mark.parametrize("output", [1, 2])
def test_losses_that_are_not_a_float32_output_are_refused(run, job, output):
    assert "not a float32 tensor among the program's 2 outputs" in refused(
        run(job | {"outputs": {"losses": output}}), "input"
    )


def test_a_missing_job_file_is_refused(runner, tmp_path):
    done = subprocess.run([runner, tmp_path / "none.json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "No such file" in json.loads(done.stdout.splitlines()[0])["reason"]


def test_without_a_job_the_usage_is_printed(runner):
    done = subprocess.run([runner], capture_output=True, text=True, timeout=60, check=False)
    usage = "usage: runner JOB.json\n       runner --peaks JOB.json\n       runner --kernels JOB.json\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{usage}       runner --clock\n")


def test_a_job_of_many_keys_is_refused_at_once(run):
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    assert "job.schema is missing" in refused(run("{" + keys + "}"), "job")


@pytest.mark.parametrize(("change", "stage"), [
    ({"program": "pipe"}, "load"),
    ({"data": ["pipe"]}, "load"),
    ({"state_in": "pipe"}, "state"),
])  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_is_refused_instead_of_waited_for(run, job, tmp_path, change, stage):
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refused(run(job | change), stage)


def test_a_pipe_in_the_place_of_a_sensors_file_is_a_failed_reading(run, job, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    sensor = {"name": "a", "quantity": "b", "path": "pipe", "scale": 1, "rate_hz": 100}
    outcome = run(job | {"sensors": [sensor]})
    assert outcome.footer["cause"] == "completed"
    assert all("pipe" in error["reason"] for error in outcome.of("sensor_error"))
