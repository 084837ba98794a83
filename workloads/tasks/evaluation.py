"""The accuracy of choosing among candidates: the rows that an evaluation computes, and accuracy from their losses.

The candidate with the lowest mean loss over its tokens is the answer. Candidates of one token share a row, as the same
tokens precede each of them; longer ones have a row each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from workloads.tasks.batches import Int64Array, PaddedBatch, padded_batch
from workloads.tasks.encoding import Example, Row, RowLayout, candidates_of_a_row

FILLER = -1
"""The example of a row that only fills the last batch."""


@dataclass(frozen=True)
class EvaluationBatch:
    """Rows to evaluate: `example` int64 [rows], the index of each row's example, or FILLER; `candidate` int64 [rows],
    which of its candidates the row has (0 if a row has all).
    """

    rows: PaddedBatch
    example: Int64Array
    candidate: Int64Array


@dataclass(frozen=True)
class EvaluationBatches:
    """All candidates of all examples, for a program that gives losses [candidates, rows] of a batch.

    `candidates` is 1 if each has its own row; else each of the labels [rows, candidates] is a complete answer.
    `right` int64 [examples] is the index of each example's right candidate.
    """

    batches: tuple[EvaluationBatch, ...]
    candidates: int
    right: Int64Array

    def scores(self, losses: Sequence[npt.ArrayLike]) -> tuple[float, float]:
        """Returns accuracy, and the mean loss per token of the right candidates.

        `losses` are those of each batch, float [candidates, rows], summed over the tokens of a row's answer. If n
        candidates share the lowest loss and one of them is right, the example counts 1/n; NaN is never the lowest.
        Raises ValueError if the losses don't belong to these batches.
        """
        found: list[dict[int, float]] = [{} for _ in self.right]
        for batch, values in zip(self.batches, losses, strict=True):
            for example, candidate, loss in self._of_batch(batch, np.asarray(values, dtype=np.float64)):
                if example != FILLER:
                    found[example][candidate] = loss
        of_right = [by_candidate[int(right)] for right, by_candidate in zip(self.right, found, strict=True)]
        shares = [_share(loss, list(every.values())) for loss, every in zip(of_right, found, strict=True)]
        return float(np.mean(shares)), float(np.mean(of_right))

    def _of_batch(self, batch: EvaluationBatch, losses: npt.NDArray[np.float64]) -> list[tuple[int, int, float]]:
        """Returns example, candidate and mean loss of each candidate in a batch."""
        shape = (self.candidates, len(batch.example))
        if losses.size != shape[0] * shape[1]:
            raise ValueError(f"there are losses of shape {losses.shape}, but the batch gives {shape}")
        tokens = np.ones(1) if self.candidates > 1 else (batch.rows.labels >= 0).sum(axis=1)
        means = losses.reshape(shape) / tokens
        return [
            (int(batch.example[row]), int(batch.candidate[row]) + place, float(means[place, row]))
            for place in range(self.candidates)
            for row in range(shape[1])
        ]


def _share(of_right: float, every: Sequence[float]) -> float:
    lowest = min((loss for loss in every if not np.isnan(loss)), default=np.nan)
    return 1 / every.count(lowest) if of_right == lowest else 0.0


def evaluation_batches(
    examples: Sequence[Example], layout: RowLayout, rows: int, *, fixed: bool = False
) -> EvaluationBatches:
    """Returns every candidate of every example in batches of `rows` rows, with rows of similar length together.

    A batch is as long as it needs to be, or T if the program has a `fixed` shape. The last one is filled with copies of
    its last row. Raises `UserError` if there are no examples.
    """
    if not examples:
        raise UserError("There are no examples to evaluate: give a task with a validation split.")
    candidates = candidates_of_a_row(examples)
    if candidates > 1:
        made = [(index, 0, _row_of_all(example, layout)) for index, example in enumerate(examples)]
    else:
        made = [
            (index, candidate, layout.row(example, candidate))
            for index, example in enumerate(examples)
            for candidate in range(len(example.candidates))
        ]
    made.sort(key=lambda one: (-one[2].first, one[0], one[1]))
    batches = []
    for start in range(0, len(made), rows):
        chunk = made[start : start + rows]
        chunk += [(FILLER, *chunk[-1][1:])] * (rows - len(chunk))
        which = np.array([(example, candidate) for example, candidate, _ in chunk], dtype=np.int64)
        padded = padded_batch([row for *_, row in chunk], fixed=fixed)
        batches.append(EvaluationBatch(padded, which[:, 0], which[:, 1]))
    right = np.array([example.right for example in examples], dtype=np.int64)
    return EvaluationBatches(tuple(batches), candidates, right)


def _row_of_all(example: Example, layout: RowLayout) -> Row:
    """Returns the prompt as a row whose labels are the single tokens of the candidates."""
    row = layout.row(example, 0)
    return Row(row.tokens, row.first, [token for (token,) in example.candidates], row.truncated)
