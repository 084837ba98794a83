"""The type in which the processor that runs a test sums products of float16."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from suite.measuring.arithmetic import INPUTS, probe_job
from workloads.lowering.arithmetic_probe import INPUT_SHAPE, PROBE, Accumulation, accumulation_of, export_probe


def probe(runner: Path, folder: Path) -> Accumulation | None:
    """Returns what the probe finds where `runner` runs; fails the test with the runner's events if it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    export_probe(folder / PROBE)
    (folder / INPUTS).write_bytes(np.ones(INPUT_SHAPE, dtype="<f4").tobytes())
    (folder / "job.json").write_text(json.dumps(probe_job()))
    ended = subprocess.run(
        [str(runner), str(folder / "job.json")], capture_output=True, text=True, timeout=300, check=False
    )
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, events[-2:]
    return accumulation_of([float(value) for value in next(e for e in events if e["event"] == "step")["losses"]])
