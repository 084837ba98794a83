"""Keeps the states of a training on this host, and converts between states and adapters.

A state is what a program left after a step. Adapters are exported as PEFT folders, and a training may start from one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from foundation.errors import UserError
from foundation.foreign_files import DAMAGED, open_regular
from reports.model.training import Training
from suite.home import Home
from suite.measuring.job import write_state
from suite.planning.plan import described_workload
from suite.preparing.preparation import Prepared
from suite.training.plan import TrainingPlan
from workloads.export.peft_folder import read_peft_adapter, read_peft_folder, write_peft_folder
from workloads.method import TRAINED_WITHOUT_ADAPTERS, Method
from workloads.scheduled.schedules import updated
from workloads.workload import adapter_values, layout_of

Float32Array = NDArray[np.float32]

_KEPT = 2
"""Number of newest checkpoints that are kept: the store may not know of the last one yet."""
STATES_ON_DEVICE = 2
"""States on the device: the one that a process starts from, and the one that it leaves."""
_START = "start.safetensors"
_MOST_STATE_BYTES = 8 << 30


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps."""

    step: int
    path: Path


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    folder: Path

    def place(self, step: int) -> Path:
        """Returns the path of the state after `step` steps."""
        return self.folder / f"step-{step:09d}.safetensors"

    def require_room(self, state_bytes: int) -> None:
        """Raises UserError unless the disk has space for the states that are kept and the next one."""
        there = sum(path.stat().st_size for path in self.folder.glob("step-*.safetensors"))
        free, needed = shutil.disk_usage(self.folder).free, (_KEPT + 1) * state_bytes - there
        if free < needed:
            raise UserError(
                f"a state of this training has {state_bytes / 1e6:.0f} MB, and up to {_KEPT + 1} of them are kept in "
                f"{self.folder}, whose disk has {free / 1e6:.0f} MB free, but {needed / 1e6:.0f} MB are needed: free "
                "space there or set SUITE_HOME to another disk"
            )

    def remove_old(self) -> None:
        """Removes all checkpoints except the newest ones."""
        for path in sorted(self.folder.glob("step-*.safetensors"))[:-_KEPT]:
            path.unlink(missing_ok=True)


def adapter_of(checkpoint: Checkpoint, method: Method, lr: float, values: int, q: int) -> Float32Array:
    """Returns the adapter of a state, float32 [values], with the pending update applied at rate `lr`.

    Raises UserError if the file can't be read, or is not a state of that size with at most `q` queries.
    """
    path = checkpoint.path
    try:
        with open_regular(path, what="a training's state", limit_bytes=_MOST_STATE_BYTES):
            state = load_file(path)
        _require_state(state, values, q)
        return updated(state, method, lr)
    except (OSError, SafetensorError, *DAMAGED) as error:
        raise UserError(f"the checkpoint {path} can't be read ({error}): start a new training.") from error


def _require_state(state: Mapping[str, NDArray[Any]], values: int, q: int) -> None:
    """Raises ValueError unless these are the tensors of a training of that size."""
    if "adapter" not in state:
        raise ValueError("it has no adapter")
    of_key, of_gradient = (np.dtype(np.int64), (2,)), (np.dtype(np.float32), (q,))
    for name, array in state.items():
        kind, shape = {"pending_key": of_key, "projected_gradient": of_gradient}.get(
            name, (np.dtype(np.float32), (values,))
        )
        fits = array.shape == shape or (name == "projected_gradient" and array.ndim == 1 and array.size <= q)
        if array.dtype != kind or not fits:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)} instead of {kind} {list(shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")


def write_adapter(training: Training, home: Home, folder: Path) -> None:
    """Writes the adapter that a training has reached as a PEFT folder, with its pending update applied.

    Raises UserError if the training has no adapter or made no step, its state is gone, or the folder can't be written.
    """
    if not training.steps:
        raise UserError(f"training {training.training_id} made no step: there is no adapter to export.")
    plan = TrainingPlan.from_document(training.plan)
    workload = described_workload(training.workload)
    path = Checkpoints(home.training_folder(training.training_id)).place(training.steps)
    if not path.is_file():
        raise UserError(f"the state {path} of step {training.steps} is missing: train again.")
    if plan.method.trains_weights:
        raise UserError(
            f"{plan.plan.method} has trained {TRAINED_WITHOUT_ADAPTERS[plan.method.trains]}, so there is no adapter to "
            f"export: find them in {path}, under their names."
        )
    lr = plan.plan.training(workload.setting).lr
    last = Checkpoint(training.steps, path)
    values = adapter_values(layout_of(workload, plan.plan.config))
    adapter = adapter_of(last, workload.training_method, plan.rate_after(lr, training.steps), values, workload.q)
    config, given = plan.plan.config, dict[str, Tensor]()
    if plan.plan.lora_a is not None:
        found = read_peft_adapter(workload, config, Path(plan.plan.lora_a))
        workload, given = replace(workload, lora_a=found.digest), dict(found.given)
    try:
        write_peft_folder(workload, config, adapter, workload.model, folder, given)
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): name another folder.") from error


def start_state(plan: TrainingPlan, prepared: Prepared, folder: Path) -> Path | None:
    """Returns a state with the adapter that the plan starts from, or None if it starts from zero.

    Raises UserError if the PEFT folder does not fit the workload.
    """
    if plan.adapter is None:
        return None
    path = folder / _START
    if not path.is_file():
        workload = prepared.workload
        write_state(read_peft_folder(workload, plan.plan.config, Path(plan.adapter)), path)
    return path
