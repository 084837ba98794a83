"""The inputs of a plan's programs: the model's weights, and the task as batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foundation.errors import UserError
from suite.planning.plan import BATCHES, Plan
from workloads.method import EVALUATE
from workloads.models.named import named_model
from workloads.models.weights import Digest, ModelWeights
from workloads.models.zoo import load_model
from workloads.tasks.batches import TaskBatches, batches
from workloads.tasks.source import MOVIE_REVIEWS, PAPER
from workloads.tasks.splits import first_of_each
from workloads.tasks.task import Task, open_task
from workloads.workload import Workload


@dataclass(frozen=True)
class Inputs:
    """Inputs of a plan, the same in any process and on any machine."""

    weights: ModelWeights
    task: Task
    data: TaskBatches


def check_inputs(plan: Plan) -> None:
    """Opens the task and the weights that a plan names, without hashing or downloading anything.

    Raises the same UserErrors as `load_inputs`, but for damage within tensors.
    """
    if plan.task == MOVIE_REVIEWS or (plan.weights is None and named_model(plan.model).packaged is not None):
        # What would have to be downloaded is not looked at.
        if plan.task != MOVIE_REVIEWS:
            _task(plan, _nobody)
        if plan.weights is not None:
            load_model(plan.model, plan.weights_path, _nobody, str)
    else:
        load_inputs(plan, _nobody, digest=str)


def _nobody(_text: str) -> None:
    """Gets notes that nobody is to see."""


def load_inputs(plan: Plan, notify: Callable[[str], None], digest: Digest | None = None) -> Inputs:
    """Loads and tokenizes; `notify` gets a line before a download, `digest` is that of `load_model`.

    Raises the workloads' UserError.
    """
    task = _task(plan, notify)
    weights = load_model(plan.model, plan.weights_path, notify, digest)
    if weights.config.max_positions < plan.T:
        raise UserError(
            f"T is {plan.T}, but {weights.source} has {weights.config.max_positions} positions: "
            f"choose a T up to {weights.config.max_positions}."
        )
    return Inputs(weights, task, batches(task, weights.tokenizer, plan.b, plan.T, BATCHES, plan.seed))


def _task(plan: Plan, notify: Callable[[str], None]) -> Task:
    task = open_task(plan.task_source, notify)
    for note in task.notes:
        notify(note)
    return first_of_each(task) if plan.split == PAPER else task


def workloads_of(plan: Plan, data: TaskBatches) -> list[Workload]:
    """Returns the plan's workloads on these batches, one for each setting."""
    answers = data.labels.shape[2]
    candidates = data.candidates if plan.method == EVALUATE else 1
    return list(plan.workloads(answers, candidates))
