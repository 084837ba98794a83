"""Batches as long as their longest row needs: what training and evaluation take, where padding would only cost.

Rows are padded on the left to the longest of their batch, rounded up to a multiple of 8, as the paper's code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foundation.errors import UserError
from workloads.tasks.batches import Int64Array, shuffled
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


def padded_batch(rows: Sequence[Row], *, fixed: bool = False) -> PaddedBatch:
    """Returns rows of T tokens as a batch of the length that they need (K at least: so many predict), or `fixed`: T."""
    T, K = len(rows[0].tokens), len(rows[0].labels)
    length = T if fixed else padded_length(max(K, *(T - row.first for row in rows)), T)
    columns = (
        [row.tokens[T - length :] for row in rows],
        [row.first - (T - length) for row in rows],
        [row.labels for row in rows],
    )
    return PaddedBatch(*(np.array(values, dtype=np.int64) for values in columns))


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of a training, by step from 0: b rows, each an example with its right candidate.

    Every example comes once before any comes again, in an order that follows from `seed` alone; so a training that
    goes on at a step needs nothing but its number.
    """

    examples: Sequence[Example]
    layout: RowLayout
    b: int
    seed: int
    _orders: dict[int, list[int]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.examples:
            raise UserError("There are no examples to train on: give a task with a training split.")

    def __getitem__(self, step: int) -> PaddedBatch:
        """Returns the batch of a step."""
        examples = [self.examples[self._index(step * self.b + place)] for place in range(self.b)]
        return padded_batch([self.layout.row(example, example.right) for example in examples])

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, len(self.examples))
        if epoch not in self._orders:
            for old in [number for number in self._orders if number < epoch - 1]:
                del self._orders[old]
            self._orders[epoch] = shuffled(len(self.examples), len(self.examples), self.seed, first_epoch=epoch)
        return self._orders[epoch][place]
