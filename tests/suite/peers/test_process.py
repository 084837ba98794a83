"""A peer's process says what a runner says: steps, memory, samples of sensors, and why it failed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.processes import ProcessEnd
from suite.peers.peer import PeerJob
from suite.peers.process import Sampler
from suite.sessions.collect import collect
from suite.sessions.record import Cause, SessionRecord
from tests.support.suite.peer_jobs import WORKLOAD, job_of


def record_of(job: PeerJob, folder: Path) -> SessionRecord:
    path = folder / "job.json"
    path.write_text(json.dumps(job.document()))
    done = subprocess.run(
        [sys.executable, "-m", "suite.peers.process", str(path)], capture_output=True, text=True, check=False
    )
    quantities = {"rail": "power_mw", "gone": "power_mw"}
    return collect("one", done.stdout.splitlines(), ProcessEnd(done.returncode, None, done.stderr), quantities)


@pytest.mark.slow
def test_a_process_prints_its_steps_memory_and_samples_and_writes_its_logits(tmp_path: Path) -> None:
    rail = tmp_path / "power"
    rail.write_text("name: x\npower: 12\n")
    sensor = {"name": "rail", "quantity": "power_mw", "path": str(rail), "field": "power", "scale": 2.0, "rate_hz": 50}
    job = job_of("torch-forward-fp32", tmp_path, sensors=(sensor, {**sensor, "name": "gone", "path": "/nowhere"}))
    found = record_of(job, tmp_path)
    assert found.cause is Cause.COMPLETED, found.sentence
    assert [step.phase for step in found.steps] == ["warm_up", "measured", "measured", "measured"]
    assert found.header is not None and found.header.threads == 1
    assert found.peak_memory_kib is not None and found.peak_memory_kib > 10_000
    trace, window = found.samples["rail"], found.measured_window_ns
    assert set(trace.values) == {24.0}
    assert window is not None and trace.t_ns[0] < window[0] < window[1] < trace.t_ns[-1]
    assert "No such file" in found.sensor_errors["gone"]
    assert np.load(job.logits).shape == (WORKLOAD.b, WORKLOAD.answers, 512)


@pytest.mark.slow
def test_a_peer_that_raises_says_why_and_at_which_stage(tmp_path: Path) -> None:
    job = job_of("products-fp32", tmp_path)
    found = record_of(replace(job, workload=replace(WORKLOAD, model="nothing-like-it")), tmp_path)
    assert (found.cause, found.footer and found.footer.stage) == (Cause.LOAD_ERROR, "load")
    assert found.footer is not None and "Unknown model 'nothing-like-it'" in str(found.footer.reason)


def test_a_reading_out_of_a_sensors_range_is_none(tmp_path: Path) -> None:
    rail = tmp_path / "power"
    rail.write_text("7")
    sensor = {"name": "rail", "path": str(rail), "scale": 1.0, "rate_hz": 50, "range": [8, 9]}
    printed: list[str] = []

    class Recorder:
        def event(self, name: str, **_fields: object) -> None:
            printed.append(name)

    with Sampler([sensor], Recorder()):  # type: ignore[arg-type]
        pass
    assert printed == []


@pytest.mark.slow
def test_steps_go_on_as_long_as_the_window_of_energy_lasts(tmp_path: Path) -> None:
    found = record_of(job_of("products-fp32", tmp_path, least_seconds=0.5), tmp_path)
    window = found.measured_window_ns
    assert window is not None and (window[1] - window[0]) / 1e9 >= 0.45
