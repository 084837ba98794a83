"""Batches of a task as arrays: which rows, in which order, and as which tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from workloads.tasks.prompts import PromptEncoder
from workloads.tasks.task import Task
from workloads.tokenizer import Tokenizer

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatches:
    """n batches of b rows.

    `tokens` int64 [n, b, T]: padded on the left with the tokenizer's pad id.
    `first` int64 [n, b]: the index of each row's first real token.
    `labels` int64 [n, b, K]: what the last K positions predict, -1 where an answer is shorter than K.
    `classes` int64 [n, b]: the class of each row's example.
    `answers`: the tokens of each class's answer.
    `rows` different examples occur, `truncated_rows` of them lost the beginning of their text.
    """

    tokens: Int64Array
    first: Int64Array
    labels: Int64Array
    classes: Int64Array
    answers: tuple[tuple[int, ...], ...]
    rows: int
    truncated_rows: int

    @property
    def sha256(self) -> str:
        """Identifies what the program gets to see."""
        digest = hashlib.sha256()
        for array in (self.tokens, self.first, self.labels):
            digest.update(repr(array.shape).encode())
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()


def batches(task: Task, tokenizer: Tokenizer, b: int, T: int, count: int, seed: int) -> TaskBatches:
    """`count` batches of `b` rows of `T` tokens; the same arguments give the same arrays, on any machine.

    Every example comes once before any comes again. Raises `UserError` if b, T or count is not above 0, or if T is too
    short for the prompt.
    """
    for name, value in (("b", b), ("T", T), ("the number of batches", count)):
        if value <= 0:
            raise UserError(f"{name} is {value}, but it must be 1 or more.")
    encoder = PromptEncoder.build(task.template, tokenizer, T)
    order = shuffled(len(task.examples), count * b, seed)
    used = sorted(set(order))
    texts = tokenizer.encode_many([task.examples[index].text for index in used])
    rows = {index: encoder.row(text, task.examples[index].label) for index, text in zip(used, texts, strict=True)}
    return TaskBatches(
        tokens=_array([rows[index].tokens for index in order], (count, b, T)),
        first=_array([rows[index].first for index in order], (count, b)),
        labels=_array([rows[index].labels for index in order], (count, b, encoder.K)),
        classes=_array([task.examples[index].label for index in order], (count, b)),
        answers=encoder.answers,
        rows=len(used),
        truncated_rows=sum(row.truncated for row in rows.values()),
    )


def shuffled(size: int, count: int, seed: int) -> list[int]:
    """`count` indices below `size`, epoch after epoch, each epoch in an order of its own.

    Sorted by a hash of seed, epoch and index: unlike a library's generator, this never changes with a version.
    """
    order: list[int] = []
    epoch = 0
    while len(order) < count:
        keys = [hashlib.sha256(f"{seed}/{epoch}/{index}".encode()).digest() for index in range(size)]
        order += sorted(range(size), key=keys.__getitem__)
        epoch += 1
    return order[:count]


def _array(values: Sequence[object], shape: tuple[int, ...]) -> Int64Array:
    return np.array(values, dtype=np.int64).reshape(shape)
