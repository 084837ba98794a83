"""What a training reads: batches of the examples it learns from, and the held-out examples it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from suite.preparing.inputs import Inputs
from suite.training.plan import TrainingPlan
from workloads.tasks.batches import Int64Array, PromptEncoder, TaskBatches, batches, shuffled

EVALUATED_ROWS = 16
"""Rows that an evaluation computes at a time."""


@dataclass(frozen=True)
class HeldOut:
    """Examples that no step has seen, as rows of the evaluation program.

    `tokens` int64 [n, b, T], `first` int64 [n, b], `labels` int64 [n, b, candidates], or [n, b, K] if each row is one
    candidate of its example. `classes`: the right candidate of each example. The last batch is filled up with rows that
    don't count.
    """

    tokens: Int64Array
    first: Int64Array
    labels: Int64Array
    classes: tuple[int, ...]
    candidates: int
    together: bool

    @property
    def candidates_of_a_row(self) -> int:
        """How many candidates a row of the program has."""
        return self.candidates if self.together else 1

    @property
    def answers(self) -> int:
        """Answer tokens of a candidate."""
        return 1 if self.together else self.labels.shape[2]

    def score(self, losses: NDArray[np.float32]) -> tuple[float, float]:
        """Returns accuracy and mean loss of the right answers; losses float32 [n, candidates of a row, b].

        An example counts as right if its right candidate has the lowest mean loss over its tokens; a tie does not.
        """
        rows = np.moveaxis(losses.astype(np.float64), 1, 2).reshape(-1, self.candidates_of_a_row)
        counts = np.ones_like(rows) if self.together else (self.labels >= 0).sum(axis=2).reshape(-1, 1)
        each = (rows / counts).reshape(-1)[: len(self.classes) * self.candidates].reshape(-1, self.candidates)
        right = each[np.arange(len(each)), self.classes]
        others = np.where(np.arange(self.candidates) == np.array(self.classes)[:, None], np.inf, each).min(axis=1)
        return float((right < others).mean()), float(right.mean())


@dataclass(frozen=True)
class Material:
    """Batches of a training, one for each step, and its held-out examples."""

    training: TaskBatches
    held_out: HeldOut
    learned_from: int


def read_material(plan: TrainingPlan, inputs: Inputs) -> Material:
    """Splits the task's examples by the plan's seed and encodes both parts.

    Raises UserError if the task has no examples left to learn from.
    """
    task, shape = inputs.task, plan.plan
    if len(task.examples) <= plan.examples:
        raise UserError(
            f"{task.name} has {len(task.examples)} examples, and {plan.examples} are to be held out: "
            f"use --examples {max(1, len(task.examples) // 4)} or a larger task."
        )
    order = shuffled(len(task.examples), len(task.examples), shape.seed)
    parts = order[: plan.examples], order[plan.examples :]
    held_out, learned = ([task.examples[index] for index in part] for part in parts)
    tokenizer = inputs.weights.tokenizer
    encoder = PromptEncoder.build(task.template, tokenizer, shape.T)
    training = batches(replace(task, examples=tuple(learned)), tokenizer, shape.b, shape.T, plan.steps, shape.seed)
    texts = tokenizer.encode_many([example.text for example in held_out])
    classes = tuple(example.label for example in held_out)
    return Material(training, _held_out(encoder, texts, classes), len(learned))


def _held_out(encoder: PromptEncoder, texts: Sequence[Sequence[int]], classes: tuple[int, ...]) -> HeldOut:
    candidates, together = len(encoder.answers), encoder.K == 1
    if together:
        rows = [encoder.row(text, 0) for text in texts]
        labels = [[answer[0] for answer in encoder.answers]] * len(rows)
    else:
        rows = [encoder.row(text, label) for text in texts for label in range(candidates)]
        labels = [row.labels for row in rows]
    return HeldOut(
        _batched([row.tokens for row in rows]),
        _batched([row.first for row in rows]),
        _batched(labels),
        classes,
        candidates,
        together,
    )


def _batched(values: Sequence[object]) -> Int64Array:
    """Returns the values in batches of EVALUATED_ROWS; the last one is filled up with the last value."""
    array = np.array(values, dtype=np.int64)
    missing = -len(array) % EVALUATED_ROWS
    filled = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
    return filled.reshape(-1, EVALUATED_ROWS, *array.shape[1:])
