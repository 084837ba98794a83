"""A shared build of the runner, a fixture that runs jobs, and the kernels through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from filelock import FileLock

from devices.runner_builds.build import build_hash, build_runner, compile_sources, native_toolchain
from tests.support.runner import runner_programs as programs

Job = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one process printed and how it ended."""

    events: list[dict[str, Any]]
    returncode: int
    stderr: str

    def of(self, event: str) -> list[dict[str, Any]]:
        return [item for item in self.events if item["event"] == event]

    @property
    def footer(self) -> dict[str, Any]:
        (footer,) = self.of("footer")
        return footer

    @property
    def losses(self) -> list[list[float]]:
        return [step["losses"] for step in self.of("step")]


@pytest.fixture(scope="session")
def build_home(request: pytest.FixtureRequest) -> Path:
    """Where builds are kept from one test run to the next."""
    cache = request.config.cache
    assert cache is not None
    return cache.mkdir("runner")


@pytest.fixture(scope="session")
def runner(build_home: Path) -> Path:
    """The runner of the current sources."""
    return build_runner(build_home).folder / "runner"


@pytest.fixture(scope="session")
def kernels(build_home: Path) -> ctypes.CDLL:
    """The kernels of the current sources behind their C interface."""
    toolchain = native_toolchain()
    name = f"kernels-{build_hash(toolchain)}"
    library = build_home / name / "librunner_kernels.so"
    with FileLock(build_home / f".{name}.lock"):
        if not library.is_file():
            options = {"RUNNER_TESTING": "ON", "RUNNER_TARGET": "OFF"}
            compile_sources(toolchain, build_home / name, build_home / f"{name}.log", options)
    loaded = ctypes.CDLL(str(library))
    loaded.prge_variant_name.restype = ctypes.c_char_p
    loaded.prge_set_threads.restype = ctypes.c_int64
    loaded.prge_linear_frozen.restype = ctypes.c_bool
    loaded.prge_linear_pairs.restype = ctypes.c_bool
    loaded.prge_decoder_layer.restype = ctypes.c_bool
    loaded.prge_layer_backward.restype = ctypes.c_bool
    loaded.prge_linear_frozen_back.restype = ctypes.c_bool
    loaded.prge_answer_losses.restype = None
    loaded.prge_linear_perturbed.restype = ctypes.c_bool
    loaded.prge_move_weight.restype = None
    loaded.prge_scratch_values.restype = ctypes.c_int64
    loaded.prge_backward_scratch_values.restype = ctypes.c_int64
    return loaded


@pytest.fixture(scope="session")
def accumulator(build_home: Path) -> Path:
    """The program of `programs.Accumulator`, kept from one test run to the next, as any export takes seconds."""
    made_of = Path(programs.__file__).read_bytes() + version("executorch").encode() + version("torch").encode()
    path = build_home / f"accumulator-{hashlib.sha256(made_of).hexdigest()[:16]}.pte"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            example = (torch.zeros(6), torch.zeros(2, dtype=torch.int64), torch.tensor(0.0))
            programs.export(programs.Accumulator(), example, path.with_suffix(".made")).replace(path)
    return path


@pytest.fixture
def job(tmp_path: Path, accumulator: Path) -> Job:
    """A job of seven steps, three of them warm-up, over two batches: 0..5 and 6..11."""
    (tmp_path / "inputs.bin").write_bytes(torch.arange(12, dtype=torch.float32).numpy().tobytes())
    return {
        "schema": 1,
        "session": "s-1",
        "program": str(accumulator),
        "method": "forward",
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": [6], "file": "inputs.bin", "offset": 0, "batches": 2},
            {"name": "key", "dtype": "int64", "shape": [2], "step_key": {"seed": 7}},
            {"name": "lr", "dtype": "float32", "shape": [], "value": [0.5]},
        ],
        "outputs": {"losses": 0},
        "warm_up": {"min_steps": 3, "max_steps": 3, "max_seconds": 60.0, "tolerance": 0.04},
        "steps": 4,
        "threads": 1,
    }


class Run(Protocol):
    """Runs a job (or the text of one) to its end."""

    def __call__(self, job: Job | str, unread_s: float = 0.0) -> Outcome:
        """`unread_s`: how long its output is left unread, from the first line on.

        A tiny program makes a hundred thousand steps in a few seconds. Unread, they fill the pipe, so the runner waits
        while its clock and sensors go on: a long session takes no processor time.
        """


@pytest.fixture
def run(started: Callable[[Job | str], subprocess.Popen[str]]) -> Run:
    """Runs jobs to their end."""

    def run_job(job: Job | str, unread_s: float = 0.0) -> Outcome:
        process = started(job)
        if unread_s and process.stdout is not None:
            select.select([process.stdout], [], [], 120)  # starting it takes its time
            time.sleep(unread_s)
        stdout, stderr = process.communicate(timeout=120)
        return Outcome([json.loads(line) for line in stdout.splitlines()], process.returncode, stderr)

    return run_job


@pytest.fixture
def started(runner: Path, tmp_path: Path) -> Iterator[Callable[[Job | str], subprocess.Popen[str]]]:
    """Starts a job (or the text of one) and leaves it running until the test ends."""
    processes = []

    def start(job: Job | str) -> subprocess.Popen[str]:
        path = tmp_path / "job.json"
        path.write_text(job if isinstance(job, str) else json.dumps(job))
        process = subprocess.Popen([runner, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        with process:
            process.wait(timeout=60)
