"""Which examples of a task train and which validate: published files, or one file divided by a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from foundation.errors import UserError, unknown_name
from workloads.tasks.batches import shuffled
from workloads.tasks.labelled import LabelledText
from workloads.tasks.source import PAPER, SPLITS, WHOLE
from workloads.tasks.task import Task

PAPER_EXAMPLES = 1_000


@dataclass(frozen=True)
class Split:
    """The examples of a training."""

    train: tuple[LabelledText, ...]
    validation: tuple[LabelledText, ...]


def first_of_each(task: Task) -> Task:
    """Returns the task with the first 1,000 of its examples, and of its validation examples, in the files' order."""
    return replace(task, examples=task.examples[:PAPER_EXAMPLES], validation=task.validation[:PAPER_EXAMPLES])


def split_task(task: Task, kind: str = WHOLE, *, seed: int | None = None, held_out: int | None = None) -> Split:
    """Returns the examples to train on and those to validate with, at most `held_out` of these.

    A task without a validation file is divided by `seed` (the template's own if None), in an order that is the same on
    any machine; without `held_out`, a share that the template names is for validation. Raises `UserError` for an
    unknown kind of split, and if a part would be empty.
    """
    if kind not in SPLITS:
        raise unknown_name("split", kind, SPLITS)
    train, validation = task.examples, task.validation
    if not validation:
        splits = task.template.splits
        order = shuffled(len(train), len(train), splits.seed if seed is None else seed)
        count = round(len(order) * splits.validation_share) if held_out is None else held_out
        validation = tuple(task.examples[index] for index in order[:count])
        train = tuple(task.examples[index] for index in order[count:])
    if not train or not validation:
        part = "validation" if train else "training"
        raise UserError(
            f"The {part} split of {task.name} is empty: it has {len(task.examples)} examples and no validation file; "
            f"hold out fewer, such as {max(1, len(task.examples) // 4)}, or give more."
        )
    most = PAPER_EXAMPLES if kind == PAPER else max(len(train), len(validation))
    return Split(train[:most], validation[: most if held_out is None else min(most, held_out)])
