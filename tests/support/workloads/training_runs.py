"""Training runs to compare: a program in the runner and the eager reference, on the same batches and noise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from workloads.export.artifact import Artifact
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch, Trajectory
from workloads.reference.of_methods import AdaZetaReference, reference_of
from workloads.workload import Workload

FloatArray = NDArray[np.float32]
ArtifactOf = Callable[[Workload], Artifact]
"""Returns the artifact of a workload on the fixture `tiny`."""

SEED = 7


@dataclass(frozen=True)
class Settings:
    """A program's inputs at each step besides its batch."""

    lr: float
    eps: float
    seed: int = SEED


@dataclass(frozen=True)
class RunnerTraining:
    """losses float32 [steps, 2, q] or as the method has them, the state the program was left in, the process's peak
    memory, and the tokens of a row in each step where the runner had a choice.
    """

    losses: FloatArray
    state: dict[str, NDArray[Any]]
    state_file: Path
    peak_kib: int
    lengths: list[int]
    kernels: str

    @property
    def adapter(self) -> FloatArray:
        return self.state["adapter"]

    @property
    def projected_gradient(self) -> FloatArray:
        return self.state["projected_gradient"]

    @property
    def pending_key(self) -> NDArray[np.int64]:
        return self.state["pending_key"]


def some_batches(workload: Workload, count: int, seed: int = 0, vocabulary: int = 200) -> list[Batch]:
    """Random tokens and labels; the first row of each batch is padded on the left by a quarter."""
    generator = np.random.default_rng(seed)
    batches = []
    for _ in range(count):
        first = np.zeros(workload.b, dtype=np.int64)
        first[0] = workload.T // 4
        tokens = generator.integers(0, vocabulary, (workload.b, workload.T))
        labels = generator.integers(0, vocabulary, (workload.b, workload.answers))
        batches.append(Batch(tokens, first, labels))
    return batches


def train_in_runner(
    runner: Path,
    program: Path,
    workload: Workload,
    batches: Sequence[Batch],
    steps: int,
    settings: Settings,
    folder: Path,
    state_in: Path | None = None,
    threads: int = 1,
    shorter: Sequence[Path] = (),
    first_step: int = 0,
) -> RunnerTraining:
    """Runs one session: `steps` steps, from a zero adapter or from the state of another session; `shorter` are programs
    for shorter rows.
    """
    job: dict[str, Any] = {
        "inputs": _inputs(batches, settings, first_step),
        "steps": steps,
        "threads": threads,
        "state_out": "state.safetensors",
    }
    if shorter:
        job["shorter"] = [str(each) for each in shorter]
    events = _run(runner, program, batches, job, folder, state_in)
    losses = _losses(events)
    return RunnerTraining(
        losses=losses.reshape(steps, *workload.training_method.loss_shape(workload.q)),
        state=load_file(folder / "state.safetensors"),
        state_file=folder / "state.safetensors",
        peak_kib=next(event["hwm_kib"] for event in events if event["event"] == "footer"),
        lengths=[event["length"] for event in events if event["event"] == "step" and "length" in event],
        kernels=next(event["kernels"] for event in events if event["event"] == "header"),
    )


def evaluate_in_runner(
    runner: Path, program: Path, workload: Workload, batches: Sequence[Batch], folder: Path, state_in: Path | None
) -> FloatArray:
    """Returns losses [batches, candidates, b] of a state, or of the data file if there is none."""
    inputs = _inputs(batches, Settings(0.0, 0.0))[: len(workload.training_method.inputs)]
    events = _run(runner, program, batches, {"inputs": inputs, "steps": len(batches), "threads": 1}, folder, state_in)
    return _losses(events).reshape(len(batches), workload.candidates, workload.b)


def _run(
    runner: Path, program: Path, batches: Sequence[Batch], job: dict[str, Any], folder: Path, state_in: Path | None
) -> list[dict[str, Any]]:
    """Runs a session of the runner in a folder of its own; returns its events."""
    folder.mkdir(parents=True)
    with (folder / "inputs.bin").open("wb") as file:
        for name in ("tokens", "first", "labels"):
            file.write(np.stack([getattr(batch, name) for batch in batches]).astype("<i8").tobytes())
    job |= {
        "schema": 1,
        "session": folder.name,
        "program": str(program),
        "data": data_beside(program),
        "method": "forward",
        "outputs": {"losses": 0},
        "warm_up": {"min_steps": 0, "max_steps": 0, "max_seconds": 60.0, "tolerance": 0.04},
    }
    if state_in is not None:
        job["state_in"] = str(state_in)
    (folder / "job.json").write_text(json.dumps(job))
    ended = subprocess.run(
        [str(runner), str(folder / "job.json")], capture_output=True, text=True, timeout=600, check=False
    )
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, [event for event in events if event["event"] == "footer"]
    return events


def _losses(events: Sequence[dict[str, Any]]) -> FloatArray:
    losses = [[float(loss) for loss in event["losses"]] for event in events if event["event"] == "step"]
    return np.array(losses, dtype=np.float32)


def data_beside(program: Path) -> list[str]:
    """Returns the data files of a program in an artifact cache."""
    document = json.loads(program.with_name("artifact.json").read_text())
    return [str(file.path) for file in Artifact(program.parent, document).data]


def train_and_flush(
    runner: Path,
    program: Path,
    workload: Workload,
    batches: Sequence[Batch],
    steps: int,
    settings: Settings,
    folder: Path,
    first_step: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Losses [steps, 2, q] of a training, and the adapter [n] with its last update applied by a step with eps = 0."""
    trained = train_in_runner(runner, program, workload, batches, steps, settings, folder, first_step=first_step)
    still = Settings(settings.lr, 0.0, settings.seed)
    flushed = train_in_runner(
        runner, program, workload, batches, 1, still, folder.with_name(f"{folder.name}-flushed"), trained.state_file
    )
    return trained.losses, flushed.adapter


def reference_training(
    weights: ModelWeights,
    workload: Workload,
    batches: Sequence[Batch],
    steps: int,
    settings: Settings,
    first_step: int = 0,
    accumulation: Accumulation = Accumulation.FP32,
) -> Trajectory:
    """Runs the same training by the eager reference; the number of the first step matters where updates have one."""
    reference = reference_of(workload, weights, accumulation)
    if first_step:
        assert isinstance(reference, AdaZetaReference)
        reference.first_step = first_step
    return reference.train(batches, steps, seed=settings.seed, lr=settings.lr, eps=settings.eps)


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Returns the norm of the difference over the norm of `expected`."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _inputs(batches: Sequence[Batch], settings: Settings, first_step: int = 0) -> list[dict[str, object]]:
    inputs: list[dict[str, object]] = []
    offset = 0
    for name in ("tokens", "first", "labels"):
        array: NDArray[np.int64] = getattr(batches[0], name)
        place = {"file": "inputs.bin", "offset": offset, "batches": len(batches)}
        inputs.append({"name": name, "dtype": "int64", "shape": list(array.shape), **place})
        offset += len(batches) * array.size * 8
    key = {"seed": settings.seed, "first": first_step}
    inputs.append({"name": "key", "dtype": "int64", "shape": [2], "step_key": key})
    for name, value in (("lr", settings.lr), ("eps", settings.eps)):
        inputs.append({"name": name, "dtype": "float32", "shape": [], "value": [value]})
    return inputs
