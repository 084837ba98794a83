"""Batches as long as their longest row needs, where padding would only cost.

Rows are padded on the left to the longest of their batch, rounded up to a multiple of 8, as the paper's code does. A
program has one length: a training has a few, of lengths that its task's rows decide, and the runner takes for each
batch the shortest that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.tasks.batches import Int64Array
from workloads.tasks.encoding import Example, Row, RowLayout

ROUNDED_TO = 8


@dataclass(frozen=True)
class PaddedBatch:
    """Rows of one length L.

    `tokens` int64 [rows, L], `first` int64 [rows]: the index of the first real token, `labels` int64 [rows, K]: what
    the last K positions predict, -1 where an answer is shorter.
    """

    tokens: Int64Array
    first: Int64Array
    labels: Int64Array

    @property
    def length(self) -> int:
        """L, the tokens of a row."""
        return int(self.tokens.shape[1])


def padded_length(longest: int, T: int) -> int:
    """Returns the length of a batch whose longest row has so many real tokens: rounded up, but not above T."""
    return min(-(-longest // ROUNDED_TO) * ROUNDED_TO, T)


def _needed_tokens(row: Row) -> int:
    """Returns the number of real tokens, but K at least: so many positions predict."""
    return max(len(row.labels), len(row.tokens) - row.first)


def padded_batch(rows: Sequence[Row], *, fixed: bool = False) -> PaddedBatch:
    """Returns rows of T tokens as a batch of the length that they need, or `fixed`: T."""
    T = len(rows[0].tokens)
    length = T if fixed else padded_length(max(map(_needed_tokens, rows)), T)
    columns = (
        [row.tokens[T - length :] for row in rows],
        [row.first - (T - length) for row in rows],
        [row.labels for row in rows],
    )
    return PaddedBatch(*(np.array(values, dtype=np.int64) for values in columns))


MOST_SHORTER = 2
"""Programs for shorter rows that a training may have beside its own: each is exported, deployed and loaded."""

LEAST_GAIN = 0.05
"""Share of a training's tokens that such a program has to save."""

LEAST_STEPS = 32
"""Steps that have to use it."""


@dataclass(frozen=True)
class RowLengths:
    """How many tokens the rows of a task need, [examples], of which a batch takes `b` at random."""

    needed: tuple[int, ...]
    b: int
    T: int

    @classmethod
    def of(cls, examples: Sequence[Example], layout: RowLayout, b: int) -> RowLengths:
        """Measures the rows that training on the examples takes."""
        rows = (layout.row(example, example.right) for example in examples)
        return cls(tuple(map(_needed_tokens, rows)), b, layout.T)

    def fitting_share(self, length: int) -> float:
        """Returns the share of batches in which no row is longer: that of rows, to the power of b."""
        return (sum(each <= length for each in self.needed) / len(self.needed)) ** self.b

    def tokens_of_a_row(self, shorter: Sequence[int]) -> float:
        """Returns the tokens of a row on average, if each batch takes the shortest of these lengths, else T."""
        lengths = [*sorted(shorter), self.T]
        shares = [*(self.fitting_share(length) for length in lengths[:-1]), 1.0]
        used = [share - before for share, before in zip(shares, [0.0, *shares], strict=False)]
        return sum(length * share for length, share in zip(lengths, used, strict=True))

    def shorter(self, steps: int) -> tuple[int, ...]:
        """Returns the lengths below T, ascending, whose programs pay in a training of `steps` steps.

        The one that saves most is chosen first. They depend on the task and the shape alone, not on any seed.
        """
        chosen: tuple[int, ...] = ()
        while len(chosen) < MOST_SHORTER:
            others = [each for each in range(ROUNDED_TO, self.T, ROUNDED_TO) if each not in chosen]
            best = min(others, key=lambda each: self.tokens_of_a_row((*chosen, each)), default=None)
            if best is None:
                break
            below = max((each for each in chosen if each < best), default=0)
            used = self.fitting_share(best) - (self.fitting_share(below) if below else 0.0)
            saved = self.tokens_of_a_row(chosen) - self.tokens_of_a_row((*chosen, best))
            if saved < LEAST_GAIN * self.T or used * steps < LEAST_STEPS:
                break
            chosen = (*chosen, best)
        return tuple(sorted(chosen))
