"""Variants of the kernels: the one that a job names, and `runner --kernels`, which times all of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from suite.sessions.record import SessionRecord
from tests.devices.runner.conftest import Job, Run
from workloads.quantize.settings import SETTINGS

JOB = {"schema": 1, "session": "k", "threads": 1}


def compared(runner: Path, folder: Path, **change: Any) -> SessionRecord:
    (folder / "job.json").write_text(json.dumps(JOB | change))
    command = [str(runner), "--kernels", str(folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return collect("k", done.stdout.splitlines(), ProcessEnd(rc=done.returncode))


def test_every_variant_is_timed_with_the_weights_of_every_setting(runner: Path, tmp_path: Path) -> None:
    record = compared(runner, tmp_path)
    assert record.complete, record.sentence
    assert record.header is not None
    variants = record.header.variants
    assert record.header.kernels == variants[0]
    own = [name for name, setting in SETTINGS.items() if setting.kernel]
    settings = own if len(variants) > 1 else ()
    assert [(one.weights, one.kernels) for one in record.products] == [
        (setting, name) for setting in settings for name in variants
    ]
    assert {len(one.ns) for one in record.products} <= {8}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threads": 2}, "job.threads must be 1: kernels are compared on one thread."),
        ({"kernels": "sse2"}, "job.kernels is not a key of a job."),
        ({"cpus": [1023]}, "The cpus of the job can't be used"),
    ],
)
def test_a_comparison_it_cannot_make_is_refused(
    runner: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    record = compared(runner, tmp_path, **change)
    assert (record.cause, record.products) == ("error", ())
    assert reason in record.sentence


def test_a_job_gets_the_kernels_that_it_names(run: Run, job: Job) -> None:
    (header,) = run(job | {"steps": 1}).of("header")
    assert header["kernels"] == header["variants"][0]
    for name in header["variants"]:
        outcome = run(job | {"steps": 1, "kernels": name})
        assert outcome.of("header")[0]["kernels"] == name
        assert outcome.returncode == 0


@pytest.mark.parametrize("name", ["avx1024", "the \x1b[2J widest", "AVX2"])
def test_kernels_that_this_processor_cannot_run_are_refused_by_name(run: Run, job: Job, name: str) -> None:
    variants = run(job | {"steps": 1}).of("header")[0]["variants"]
    outcome = run(job | {"kernels": name})
    known = f"{', '.join(variants[:-1])} or {variants[-1]}" if len(variants) > 1 else variants[0]
    assert (outcome.returncode, outcome.footer["stage"]) == (1, "job")
    assert outcome.footer["reason"] == f'job.kernels must be {known}, which this processor can run, not "{name}".'


@pytest.mark.parametrize("kernels", [7, ""])
def test_kernels_must_be_a_name(run: Run, job: Job, kernels: object) -> None:
    assert run(job | {"kernels": kernels}).footer["reason"] == "job.kernels must be a non-empty string."
