"""The inputs of a plan's programs: the model's weights, and the task as batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suite.planning.plan import BATCHES, Plan
from workloads.method import EVALUATE
from workloads.models.named import named_model
from workloads.models.weights import Digest, ModelWeights
from workloads.models.zoo import load_model
from workloads.tasks.batches import TaskBatches, batches
from workloads.tasks.source import MOVIE_REVIEWS, PAPER
from workloads.tasks.splits import first_of_each
from workloads.tasks.task import Task, open_task
from workloads.tasks.template import load_template
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
    if plan.task == MOVIE_REVIEWS:  # they may not be here yet either
        if plan.template is not None:
            load_template(plan.template)
    elif plan.weights is None and named_model(plan.model).packaged is not None:  # its tokenizer may not be here yet
        _task(plan, _nobody)
    else:
        load_inputs(plan, _nobody, digest=str)


def _nobody(_text: str) -> None:
    """Gets notes that nobody is to see."""


def load_inputs(
    plan: Plan, notify: Callable[[str], None], digest: Digest | None = None, weights: ModelWeights | None = None
) -> Inputs:
    """Loads and tokenizes; `notify` gets a line before a download and for rows that are cut.

    `digest` is that of `load_model`; `weights` are those of the plan if they are at hand, as loading takes seconds.

    Raises the workloads' UserError.
    """
    task = _task(plan, notify)
    weights = weights or load_model(plan.model, plan.weights_path, notify, digest)
    weights.config.require_length(plan.T, weights.source)
    data = batches(task, weights.tokenizer, plan.b, plan.T, BATCHES, plan.seed)
    if data.truncated_rows:
        notify(
            f"{data.truncated_rows} of {data.rows} rows of {task.name} are longer than T={plan.T} and lost the "
            "beginning of their text"
        )
    return Inputs(weights, task, data)


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
