"""Programs that can't run, signals, and output that nobody reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from tests.support.runner import runner_programs as programs

ENDLESS = {"steps": 10**9}


def failed(outcome, stage):
    assert outcome.returncode == 1
    assert outcome.events[-1]["event"] == "end"
    assert (outcome.footer["cause"], outcome.footer["stage"]) == ("error", stage)
    return outcome.footer


def test_a_missing_program_fails_the_load(run, job):
    assert "No such file" in failed(run(job | {"program": "nowhere.pte"}), "load")["reason"]


def test_an_empty_program_fails_the_load(run, job, tmp_path):
    (tmp_path / "empty.pte").touch()
    assert "the file is empty" in failed(run(job | {"program": "empty.pte"}), "load")["reason"]


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_program_fails_the_load(run, job, tmp_path, kept):
    whole = Path(job["program"]).read_bytes()
    (tmp_path / "short.pte").write_bytes(whole[: int(len(whole) * kept)])
    footer = failed(run(job | {"program": "short.pte"}), "load")
    assert footer["error_code"].startswith("0x")
    assert "can't be loaded" in footer["reason"]


@pytest.mark.slow
def test_a_truncated_segment_fails_the_load(run, job, tmp_path):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    linear = torch.nn.Linear(64, 64, bias=False)
    path = programs.export(linear, (torch.zeros(1, 64),), tmp_path / "linear.pte", XnnpackPartitioner())
    path.write_bytes(path.read_bytes()[:-8192])
    assert failed(run(job | {"program": "linear.pte"}), "load")["error_code"] is not None


def test_a_file_that_is_not_a_program_fails_the_load(run, job, tmp_path):
    (tmp_path / "text.pte").write_bytes(b"not a program\n" * 1000)
    assert failed(run(job | {"program": "text.pte"}), "load")["error_code"] == "0x23"


def test_a_missing_data_file_fails_the_load_and_is_named(run, job):
    reason = failed(run(job | {"data": ["nowhere.ptd"]}), "load")["reason"]
    assert "The data file can't be read" in reason and "nowhere.ptd: No such file" in reason
    assert "Deploy the program again, with its data files" in reason


@pytest.mark.parametrize("content", [b"x", b"not a data file\n" * 1000])
def test_a_file_that_is_not_a_data_file_fails_the_load(run, job, tmp_path, content):
    (tmp_path / "text.ptd").write_bytes(content)
    reason = failed(run(job | {"data": ["text.ptd"]}), "load")["reason"]
    assert "text.ptd can't be loaded" in reason


def test_an_unknown_method_fails_the_load(run, job):
    footer = failed(run(job | {"method": "backward"}), "load")
    assert "backward" in footer["reason"]
    assert footer["error_code"] is not None


@pytest.mark.slow
def test_a_missing_operator_is_named(run, job, tmp_path):
    library = programs.register_unknown_operator()
    programs.export(programs.Unknown(), (torch.zeros(2),), tmp_path / "unknown.pte")
    del library
    footer = failed(run(job | {"program": "unknown.pte"}), "load")
    assert "runner_test::nowhere.out" in footer["reason"]
    assert footer["error_code"] == "0x14"


@pytest.mark.slow
def test_a_missing_delegate_is_named(run, job, tmp_path):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    path = tmp_path / "linear.pte"
    programs.export(torch.nn.Linear(8, 8), (torch.zeros(1, 8),), path, XnnpackPartitioner())
    path.write_bytes(path.read_bytes().replace(b"XnnpackBackend", b"AbsentBackends"))
    footer = failed(run(job | {"program": "linear.pte"}), "load")
    assert "AbsentBackends" in footer["reason"]
    assert footer["error_code"] == "0x20"


def read_steps(process, count):
    lines = []
    while sum('"step"' in line for line in lines) < count:
        lines.append(process.stdout.readline())
    return lines


def read_rest(process):
    lines = process.stdout.readlines()
    process.wait(timeout=60)
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_is_obeyed_after_the_step(started, job, tmp_path, number):
    process = started(job | ENDLESS | {"state_out": "state.safetensors"})
    lines = read_steps(process, 5)
    process.send_signal(number)
    events = [json.loads(line) for line in [*lines, *read_rest(process)]]
    footer, end = events[-2:]
    assert (footer["cause"], footer["reason"]) == ("signal", number.name)
    assert footer["steps"] == sum(event["event"] == "step" for event in events)
    assert end == {"event": "end", "lines": len(events) - 1}
    assert process.returncode == 1
    assert (tmp_path / "state.safetensors").is_file()


def test_a_killed_runner_leaves_no_end_marker(started, job):
    process = started(job | ENDLESS)
    read_steps(process, 3)
    process.kill()
    rest = read_rest(process)
    assert not any('"end"' in line or '"footer"' in line for line in rest)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE])
def test_a_crash_is_reported_in_a_footer_and_the_process_dies_of_it(started, job, number):
    process = started(job | ENDLESS)
    read_steps(process, 3)
    process.send_signal(number)
    footer = json.loads(read_rest(process)[-1])
    assert (footer["event"], footer["cause"], footer["reason"]) == ("footer", "signal", number.name)
    assert (footer["stage"], footer["error_code"]) == ("execute", None)
    assert footer["steps"] >= 3
    assert footer["hwm_kib"] > 0
    assert process.returncode == -number


def test_a_reader_that_goes_away_ends_the_runner(started, job):
    process = started(job | ENDLESS)
    read_steps(process, 3)
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert "can't be written: Broken pipe" in process.stderr.read()


def test_a_full_disk_behind_the_output_ends_the_runner(runner, job, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(job))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [runner, tmp_path / "job.json"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_a_closed_output_ends_the_runner(runner, job, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [runner, tmp_path / "job.json"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: os.close(1),
    )
    assert done.returncode == 1
    assert "can't be written" in done.stderr
