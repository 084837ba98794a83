"""Trained adapters on their way out, as PEFT folders, and in again, as the start of a training."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from foundation.errors import UserError
from reports.model.training import Training
from suite.home import Home
from suite.preparing.preparation import Prepared
from suite.training.checkpoints import Checkpoint, Checkpoints, adapter_of, write_state
from suite.training.plan import TrainingPlan
from workloads.export.peft_folder import read_peft_folder, write_peft_folder
from workloads.workload import Workload

_START = "start.safetensors"


def write_adapter(training: Training, home: Home, folder: Path) -> None:
    """Writes the adapter that a training has reached as a PEFT folder, with its pending update applied.

    Raises UserError if it made no step, its state is gone, or the folder can't be written.
    """
    if not training.steps:
        raise UserError(f"training {training.training_id} made no step: there is no adapter to export.")
    plan = TrainingPlan.from_document(training.plan)
    workload = workload_of(training)
    path = Checkpoints(home.training_folder(training.training_id)).place(training.steps)
    if not path.is_file():
        raise UserError(f"the state {path} of step {training.steps} is gone: train again.")
    lr = plan.plan.training(workload.setting).lr
    last = Checkpoint(training.steps, path)
    adapter = adapter_of(last, workload.training_method, plan.rate_after(lr, training.steps))
    try:
        write_peft_folder(workload, plan.plan.config, adapter, workload.model, folder)
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): name another folder.") from error


def workload_of(training: Training) -> Workload:
    """Returns the workload that was trained."""
    known = {field.name for field in fields(Workload)}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in training.workload.items()
        if name in known
    }
    return Workload(**values)  # type: ignore[arg-type]  # its own document, read back


def start_state(plan: TrainingPlan, prepared: Prepared, folder: Path) -> Path | None:
    """Returns a state with the adapter that the plan starts from, None if it starts from zero.

    Raises UserError if the PEFT folder does not fit the workload.
    """
    if plan.adapter is None:
        return None
    path = folder / _START
    if not path.is_file():
        workload = prepared.workload
        write_state(read_peft_folder(workload, plan.plan.config, Path(plan.adapter)), path)
    return path
