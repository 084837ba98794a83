"""What a runner prints, in shape and order."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from tests.support.runner import runner_programs as programs


def test_events_come_in_the_order_of_the_contract(run, job):
    outcome = run(job)
    names = [event["event"] for event in outcome.events]
    assert names == ["header", "load", *["step"] * 7, "footer", "end"]
    assert outcome.returncode == 0


def test_end_counts_the_lines_before_it(run, job):
    outcome = run(job)
    assert outcome.events[-1] == {"event": "end", "lines": len(outcome.events) - 1}


def test_header_names_the_session_the_clock_and_the_machine(run, job):
    header = run(job | {"session": 'naïve "text"\t\U0001f600'}).of("header")[0]
    assert header["session"] == 'naïve "text"\t\U0001f600'
    assert header["clock"] == "CLOCK_MONOTONIC"
    assert header["machine"] == platform.machine()
    assert header["kernel"] == platform.release()
    assert header["executorch"].startswith("1.")
    assert (header["schema"], header["threads"]) == (1, 1)


def test_affinity_and_thread_count_follow_the_job(run, job):
    allowed = run(job).of("header")[0]["cpus_allowed"]
    header = run(job | {"cpus": allowed[-1:], "threads": 3}).of("header")[0]
    assert (header["cpus_allowed"], header["threads"]) == (allowed[-1:], 3)


def test_load_reports_memory_and_the_size_of_the_program(run, job):
    load = run(job).of("load")[0]
    assert load["program_bytes"] == Path(job["program"]).stat().st_size
    assert 0 < load["rss_kib"] <= load["hwm_kib"]
    assert load["t0_ns"] < load["t1_ns"]


def test_steps_do_not_overlap_and_are_counted_through_the_warm_up(run, job):
    steps = run(job).of("step")
    assert [step["index"] for step in steps] == list(range(7))
    assert [step["phase"] for step in steps] == ["warm_up"] * 3 + ["measured"] * 4
    times = [time for step in steps for time in (step["t0_ns"], step["t1_ns"])]
    assert times == sorted(times)


def test_step_key_is_the_seed_and_the_index_of_the_step(run, job):
    assert [losses[1:] for losses in run(job).losses] == [[7.0, float(index)] for index in range(7)]


def test_file_inputs_cycle_through_their_batches(run, job):
    # The two batches sum to 15 and 51; the adapter gains half of that each time.
    sums = [losses[0] for losses in run(job).losses]
    assert [b - a for a, b in zip([0.0, *sums], sums, strict=False)] == [7.5, 25.5, 7.5, 25.5, 7.5, 25.5, 7.5]


def test_file_inputs_begin_at_their_offset(run, job, tmp_path):
    (tmp_path / "inputs.bin").write_bytes(b"\xff" * 5 + torch.ones(6).numpy().tobytes())
    job["inputs"][0] |= {"offset": 5, "batches": 1}
    assert [losses[0] for losses in run(job).losses] == [3.0 * step for step in range(1, 8)]


def test_losses_that_are_not_numbers_are_reported(run, job, tmp_path):
    job["program"] = str(programs.export(programs.Quotient(), (torch.ones(3),), tmp_path / "quotient.pte"))
    job["inputs"] = [{"name": "x", "dtype": "float32", "shape": [3], "value": [1.0, -1.0, 0.0]}]
    assert run(job).losses[0] == ["inf", "-inf", "nan"]


def test_without_a_losses_output_steps_have_none(run, job):
    assert run(job | {"outputs": {}}).losses == [[]] * 7


def test_footer_of_a_completed_session_has_counters_and_no_error(run, job):
    footer = run(job).footer
    assert (footer["cause"], footer["reason"], footer["error_code"], footer["stage"]) == ("completed", "", None, None)
    assert (footer["steps"], footer["sampler_cpu_ns"], footer["swap_kib"]) == (7, 0, 0)
    assert footer["hwm_kib"] > 0
    assert footer["minor_faults"] > 0


@pytest.mark.parametrize(("rule", "warm_up_steps"), [
    ({"min_steps": 0, "max_steps": 0, "tolerance": 0.04}, 0),
    ({"min_steps": 5, "max_steps": 50, "tolerance": 1.0}, 5),  # always in agreement
    ({"min_steps": 0, "max_steps": 50, "tolerance": 1.0}, 2),  # one step can't agree with itself
    ({"min_steps": 2, "max_steps": 9, "tolerance": 0.0}, 9),  # never in agreement
    ({"min_steps": 4, "max_steps": 9, "tolerance": 0.0, "max_seconds": 0.0}, 4),  # out of time
])  # fmt: skip
def test_warm_up_ends_by_agreement_within_its_bounds(run, job, rule, warm_up_steps):
    steps = run(job | {"warm_up": {"max_seconds": 60.0} | rule}).of("step")
    assert [step["phase"] for step in steps].count("warm_up") == warm_up_steps
    assert len(steps) == warm_up_steps + 4


def test_measuring_continues_for_the_minimum_time(run, job):
    steps = run(job | {"min_measured_seconds": 0.2}).of("step")
    measured_steps = [step for step in steps if step["phase"] == "measured"]
    assert measured_steps[-1]["t1_ns"] - measured_steps[0]["t0_ns"] >= 0.2e9
    assert measured_steps[-2]["t1_ns"] - measured_steps[0]["t0_ns"] < 0.2e9
