"""Which examples of a task train and which validate: published files, or one file divided by a seed."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import UserError, unknown_name
from workloads.tasks.batches import shuffled
from workloads.tasks.labelled import LabelledText
from workloads.tasks.task import Task

WHOLE = "whole"
PAPER = "paper"
SPLITS = (WHOLE, PAPER)
"""`whole`: all examples; `paper`: the first 1,000 of each part, as the paper has it (in the order of the files)."""

PAPER_EXAMPLES = 1_000


@dataclass(frozen=True)
class Split:
    """The examples of a training."""

    train: tuple[LabelledText, ...]
    validation: tuple[LabelledText, ...]


def split_task(task: Task, kind: str = WHOLE, seed: int | None = None) -> Split:
    """Returns the examples to train on and those to validate with.

    A task without a validation file is divided by `seed` (the template's own if None), in an order that is the same on
    any machine. Raises `UserError` for an unknown kind of split, and if a part would be empty.
    """
    if kind not in SPLITS:
        raise unknown_name("split", kind, SPLITS)
    train, validation = task.examples, task.validation
    if not validation:
        splits = task.template.splits
        order = shuffled(len(task.examples), len(task.examples), splits.seed if seed is None else seed)
        held_out = round(len(order) * splits.validation_share)
        train = tuple(task.examples[index] for index in order[held_out:])
        validation = tuple(task.examples[index] for index in order[:held_out])
    if not train or not validation:
        part = "validation" if train else "training"
        raise UserError(
            f"The {part} split of {task.name} is empty: {len(task.examples)} examples are too few to divide by "
            f"{task.template.splits.validation_share:g}; give more, or a file of validation examples."
        )
    most = PAPER_EXAMPLES if kind == PAPER else max(len(train), len(validation))
    return Split(train[:most], validation[:most])
