"""Host work before any device is touched: the model, the task's batches, the programs and their reference losses."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import psutil

from suite.errors import SuiteError, UserError
from suite.plan import BATCHES, REFERENCE_STEPS, Plan
from workloads.artifact import Artifact, ArtifactCache
from workloads.estimate import Estimate, estimate
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model, model_config
from workloads.tasks import Task, TaskBatches, Template, batches, built_in_task, read_task
from workloads.workload import Workload

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A workload that can be measured: its program, and what its first steps' losses must be."""

    workload: Workload
    artifact: Artifact
    reference_losses: tuple[tuple[float, ...], ...]
    estimate: Estimate


@dataclass(frozen=True)
class Preparation:
    """What all devices of a run share."""

    data: TaskBatches
    prepared: tuple[Prepared, ...]
    weights_source: str
    exported: int


def estimates(plan: Plan) -> list[Estimate]:
    """What each workload of the plan will take; needs neither weights nor task."""
    config = model_config(plan.model)
    return [estimate(workload, config) for workload in plan.workloads(answers=1)]


def require_host_memory(plan: Plan) -> None:
    """Raise UserError when the export of a workload cannot fit this machine, before anything is exported."""
    total = psutil.virtual_memory().total
    for quant, needed in zip(plan.quants, estimates(plan), strict=True):
        if needed.export_memory_bytes > total:
            raise UserError(
                f"Exporting {plan.model} {quant} takes about {_gb(needed.export_memory_bytes)} GB of memory and this "
                f"machine has {_gb(total)} GB: choose a smaller model, or export it on a larger machine."
            )
        if needed.memory_bytes > _LARGEST_DEVICE_BYTES:
            raise UserError(
                f"{plan.model} {quant} with q={plan.q}, b={plan.b}, T={plan.T} needs about "
                f"{_gb(needed.memory_bytes)} GB of memory on the device: lower q, b or T."
            )


_LARGEST_DEVICE_BYTES = 64 << 30
"""No phone or board has more; a shape beyond it is a slip of the pen."""


def prepare(plan: Plan, cache: ArtifactCache, notify: Notify) -> Preparation:
    """Load, tokenize, export what is missing, and run the reference where it is missing.

    Raises UserError for what the user can mend, SuiteError when the exporting process dies.
    """
    weights = load_model(plan.model, plan.weights_path, notify)
    task = read_task(plan.task_path) if plan.task_path is not None else built_in_task(Template())
    data = batches(task, weights.tokenizer, plan.b, plan.T, BATCHES, plan.seed)
    _tell_truncation(task, data, notify)
    workloads = list(plan.workloads(answers=data.labels.shape[2]))
    missing = [workload for workload in workloads if cache.find(workload, weights.sha256) is None]
    prepared = []
    # Exporting takes gigabytes that Python would not give back: a process of its own does, and the host is
    # small again when the sessions run.
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as worker:
        for workload in workloads:
            if workload in missing:
                notify(f"exporting {workload.model} {workload.quant} ({len(missing)} to export)")
            asked = _Asked(workload, plan, cache.root, data)
            try:
                reference = _in_worker(worker, asked, weights, cache)
            except BrokenProcessPool as error:
                raise SuiteError(
                    f"The process that exports {workload.model} {workload.quant} was killed, most often by the kernel "
                    "for lack of memory: close other programs, or choose a smaller model."
                ) from error
            artifact = cache.find(workload, weights.sha256)
            if artifact is None:
                raise SuiteError(f"The artifact of {workload.quant} vanished from {cache.root}: run again.")
            if workload in missing:
                seconds = artifact.document["export_seconds"]
                notify(f"exported {workload.quant} in {seconds:.0f} s, {artifact.program_bytes / 1e6:.0f} MB")
            prepared.append(Prepared(workload, artifact, reference, estimate(workload, weights.config)))
    return Preparation(data, tuple(prepared), weights.source, len(missing))


@dataclass(frozen=True)
class _Asked:
    """What the exporting process needs; it loads the weights itself."""

    workload: Workload
    plan: Plan
    root: Path
    data: TaskBatches


def _in_worker(
    worker: ProcessPoolExecutor, asked: _Asked, weights: ModelWeights, cache: ArtifactCache
) -> tuple[tuple[float, ...], ...]:
    artifact = cache.find(asked.workload, weights.sha256)
    if artifact is not None:
        kept = cache.kept_reference(artifact, asked.data, asked.plan.training, REFERENCE_STEPS)
        if kept is not None:
            return _frozen(kept)
    return _frozen(worker.submit(_export_and_refer, asked).result())


def _export_and_refer(asked: _Asked) -> list[list[float]]:
    """Runs in the exporting process."""
    cache = ArtifactCache(asked.root)
    weights = _weights(asked.plan.model, asked.plan.weights_path)
    artifact = cache.export(asked.workload, weights)
    return cache.reference_losses(artifact, asked.workload, weights, asked.data, asked.plan.training, REFERENCE_STEPS)


@functools.lru_cache(maxsize=1)
def _weights(model: str, path: Path | None) -> ModelWeights:
    return load_model(model, path)


def _frozen(losses: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in losses)


def _tell_truncation(task: Task, data: TaskBatches, notify: Notify) -> None:
    if data.truncated_rows:
        notify(
            f"{data.truncated_rows} of {data.rows} rows of {task.name} are longer than T={data.tokens.shape[2]} "
            "and lost the beginning of their text"
        )


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f}"
