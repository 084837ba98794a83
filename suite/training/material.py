"""What a training reads: batches of the examples it learns from, and the held-out examples it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from suite.preparing.inputs import Inputs
from suite.training.plan import TrainingPlan
from workloads.models.tokenizer import Tokenizer
from workloads.tasks.batches import Int64Array, TaskBatches, batches
from workloads.tasks.encoding import RowLayout, encode_examples
from workloads.tasks.evaluation import EvaluationBatches, evaluation_batches
from workloads.tasks.labelled import LabelledText
from workloads.tasks.padded import RowLengths
from workloads.tasks.splits import split_task
from workloads.tasks.task import Task
from workloads.tasks.template import Template

EVALUATED_ROWS = 16
"""Rows that an evaluation computes at a time."""

SAMPLED = 1000
"""Examples whose length is looked at."""


@dataclass(frozen=True)
class HeldOut:
    """Examples that no step has seen, as rows of the evaluation program, whose shape is fixed.

    `tokens` int64 [n, b, T], `first` int64 [n, b], `labels` int64 [n, b, candidates], or [n, b, K] if each row is one
    candidate of its example.
    """

    rows: EvaluationBatches
    tokens: Int64Array
    first: Int64Array
    labels: Int64Array

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return len(self.rows.right)

    @property
    def candidates_of_a_row(self) -> int:
        """How many candidates a row of the program has."""
        return self.rows.candidates

    def score(self, losses: NDArray[np.float32]) -> tuple[float, float]:
        """Returns accuracy and mean loss of the right answers; losses float32 [n, candidates of a row, b]."""
        return self.rows.scores(list(losses))


@dataclass(frozen=True)
class Material:
    """Batches of a training, one for each step, its held-out examples, and the lengths below T that its rows are worth
    a program of.
    """

    training: TaskBatches
    held_out: HeldOut
    learned_from: int
    lengths: RowLengths
    shorter: tuple[int, ...]


def read_material(plan: TrainingPlan, inputs: Inputs) -> Material:
    """Takes the held-out examples from the validation file, or from the others by the plan's seed, and encodes all.

    Raises UserError if the task has no examples left to learn from.
    """
    task, shape = inputs.task, plan.plan
    split = split_task(task, shape.split, seed=shape.seed, held_out=plan.examples)
    tokenizer, K = inputs.weights.tokenizer, inputs.data.labels.shape[2]
    learned = replace(task, examples=split.train, validation=split.validation)
    training = batches(learned, tokenizer, shape.b, shape.T, plan.steps, shape.seed, K)
    held_out = _held_out(split.validation, task.template, tokenizer, shape.T, K)
    lengths = _row_lengths(task, tokenizer, shape.b, shape.T, K)
    return Material(training, held_out, len(split.train), lengths, lengths.shorter(plan.steps))


def _row_lengths(task: Task, tokenizer: Tokenizer, b: int, T: int, K: int) -> RowLengths:
    """Measures the rows of the task, SAMPLED of them at most, whichever a seed may hold out."""
    every = -(-len(task.examples) // SAMPLED)
    examples = encode_examples(task.examples[::every], task.template, tokenizer)
    return RowLengths.of(examples, RowLayout.fitting(examples, task.template, tokenizer, T, K), b)


def _held_out(texts: Sequence[LabelledText], template: Template, tokenizer: Tokenizer, T: int, K: int) -> HeldOut:
    examples = encode_examples(texts, template, tokenizer)
    layout = RowLayout.fitting(examples, template, tokenizer, T, K)
    rows = evaluation_batches(examples, layout, EVALUATED_ROWS, fixed=True)
    padded = [batch.rows for batch in rows.batches]
    return HeldOut(
        rows,
        np.stack([batch.tokens for batch in padded]),
        np.stack([batch.first for batch in padded]),
        np.stack([batch.labels for batch in padded]),
    )
