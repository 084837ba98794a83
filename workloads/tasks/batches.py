"""The examples of a task as batches: which rows, in which order, as which tokens; and the training/validation split.

An example is cut to length and padded on the left, with its labels at the end. Measuring takes batches of a fixed
shape. The runner's inputs.bin holds the batches of each input one after the other, int64, little endian.

Training takes batches that are only as long as their longest row, rounded up to a multiple of 8, as the paper's code
does: more padding would only cost time. A program has one length, so a training has a few programs, with lengths that
fit its task's rows, and the runner uses the shortest one that fits each batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.atomic import replacing
from foundation.errors import UserError, unknown_name
from workloads.models.tokenizer import Tokenizer
from workloads.tasks.encoding import Example, Row, RowLayout, candidates_of_a_row, encode_examples
from workloads.tasks.labelled import LabelledText
from workloads.tasks.source import PAPER, SPLITS, WHOLE
from workloads.tasks.task import Task

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatches:
    """n batches of b rows.

    `tokens` int64 [n, b, T]: padded on the left with the tokenizer's pad id.
    `first` int64 [n, b]: the index of each row's first real token.
    `labels` int64 [n, b, K]: what the last K positions predict, -1 where an answer is shorter than K.
    `classes` int64 [n, b]: the index of each row's right candidate. `candidates`: how many candidates every example of
    the task has, if all are single tokens; else 1, as each then needs its own row. There are `rows` different examples,
    of which `truncated_rows` lost the start of their text.
    """

    tokens: Int64Array
    first: Int64Array
    labels: Int64Array
    classes: Int64Array
    candidates: int
    rows: int
    truncated_rows: int

    @property
    def arrays(self) -> dict[str, Int64Array]:
        """The program's inputs, in its order."""
        return {"tokens": self.tokens, "first": self.first, "labels": self.labels}

    @property
    def sha256(self) -> str:
        """A hash of everything the program sees."""
        digest = hashlib.sha256()
        for array in self.arrays.values():
            digest.update(repr(array.shape).encode())
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()


def batches(
    task: Task, tokenizer: Tokenizer, b: int, T: int, count: int, seed: int, K: int | None = None
) -> TaskBatches:
    """Makes `count` batches of `b` rows of `T` tokens; the same arguments give the same arrays on any machine.

    Every example is used once before any is used again. K is the program's, or the length of the longest candidate of
    the whole task. Raises `UserError` if b, T or count is not above 0, if T is too short for the prompt, or if a
    candidate is longer than K.
    """
    for name, value in (("b", b), ("T", T), ("the number of batches", count)):
        if value <= 0:
            raise UserError(f"{name} is {value}, but it must be 1 or more.")
    order = shuffled(len(task.examples), count * b, seed)
    used = sorted(set(order))
    encoded = encode_examples([task.examples[index] for index in used], task.template, tokenizer)
    # K must not depend on which examples are drawn: if candidates differ from row to row, all of them count.
    whole = encoded
    if task.template.constants is None:
        whole = encode_examples((*task.examples, *task.validation), task.template, tokenizer)
    layout = RowLayout.fitting(whole, task.template, tokenizer, T, K)
    examples = dict(zip(used, encoded, strict=True))
    rows = {index: layout.row(example, example.right) for index, example in examples.items()}
    return TaskBatches(
        tokens=_array([rows[index].tokens for index in order], (count, b, T)),
        first=_array([rows[index].first for index in order], (count, b)),
        labels=_array([rows[index].labels for index in order], (count, b, layout.K)),
        classes=_array([examples[index].right for index in order], (count, b)),
        candidates=candidates_of_a_row(whole),
        rows=len(used),
        truncated_rows=sum(row.truncated for row in rows.values()),
    )


def shuffled(size: int, count: int, seed: int, first_epoch: int = 0) -> list[int]:
    """Returns `count` indices below `size`, epoch after epoch, each epoch in its own order.

    Sorted by a hash of seed, epoch and index: unlike a library's generator, this never changes between versions.
    """
    order: list[int] = []
    epoch = first_epoch
    while len(order) < count:
        keys = [hashlib.sha256(f"{seed}/{epoch}/{index}".encode()).digest() for index in range(size)]
        order += sorted(range(size), key=keys.__getitem__)
        epoch += 1
    return order[:count]


def _array(values: Sequence[object], shape: tuple[int, ...]) -> Int64Array:
    return np.array(values, dtype=np.int64).reshape(shape)


@dataclass(frozen=True)
class FileInput:
    """One entry of the job's `inputs`: `batches` tensors of `shape` starting at byte `offset` of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    batches: int

    def as_job_entry(self) -> dict[str, object]:
        """Returns the entry in the job file's form."""
        return {**asdict(self), "shape": list(self.shape)}


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> list[FileInput]:
    """Writes arrays [batches, ...] one after the other, little endian; returns their entries in the same order.

    The file appears complete or not at all. Raises OSError.
    """
    entries = []
    offset = 0
    with replacing(path) as file:
        for name, array in arrays.items():
            shape, batches = array.shape[1:], array.shape[0]
            entries.append(FileInput(name, array.dtype.name, shape, path.name, offset, batches))
            offset += file.write(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return entries


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
    """Returns the length of a batch whose longest row has `longest` real tokens: rounded up, but at most T."""
    return min(-(-longest // ROUNDED_TO) * ROUNDED_TO, T)


def _needed_tokens(row: Row) -> int:
    """Returns the number of real tokens, but at least K, the number of positions that predict."""
    return max(len(row.labels), len(row.tokens) - row.first)


def padded_batch(rows: Sequence[Row], *, fixed: bool = False) -> PaddedBatch:
    """Returns rows of T tokens as a batch of the length that they need, or T if `fixed`."""
    T = len(rows[0].tokens)
    length = T if fixed else padded_length(max(map(_needed_tokens, rows)), T)
    columns = (
        [row.tokens[T - length :] for row in rows],
        [row.first - (T - length) for row in rows],
        [row.labels for row in rows],
    )
    return PaddedBatch(*(np.array(values, dtype=np.int64) for values in columns))


MOST_SHORTER = 2
"""The most programs for shorter rows that a training may have: each is exported, deployed and loaded."""

LEAST_GAIN = 0.05
"""The share of a training's tokens that such a program must save."""

LEAST_STEPS = 32
"""The number of steps that must use it."""


@dataclass(frozen=True)
class RowLengths:
    """How many tokens the rows of a task need, [examples]; a batch takes `b` of them at random."""

    needed: tuple[int, ...]
    b: int
    T: int

    @classmethod
    def of(cls, examples: Sequence[Example], layout: RowLayout, b: int) -> RowLengths:
        """Measures the rows for training on the examples."""
        rows = (layout.row(example, example.right) for example in examples)
        return cls(tuple(map(_needed_tokens, rows)), b, layout.T)

    def fitting_share(self, length: int) -> float:
        """Returns the share of batches in which no row is longer: the share of such rows to the power of b."""
        return (sum(each <= length for each in self.needed) / len(self.needed)) ** self.b

    def tokens_of_a_row(self, shorter: Sequence[int]) -> float:
        """Returns the average tokens of a row if each batch takes the shortest of these lengths that fits, else T."""
        lengths = [*sorted(shorter), self.T]
        shares = [*(self.fitting_share(length) for length in lengths[:-1]), 1.0]
        used = [share - before for share, before in zip(shares, [0.0, *shares], strict=False)]
        return sum(length * share for length, share in zip(lengths, used, strict=True))

    def shorter(self, steps: int) -> tuple[int, ...]:
        """Returns the lengths below T, ascending, whose programs are worth their cost in a training of `steps` steps.

        The one that saves most is chosen first. They depend only on the task and the shape, not on a seed.
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


PAPER_EXAMPLES = 1_000


@dataclass(frozen=True)
class Split:
    """The examples of a training."""

    train: tuple[LabelledText, ...]
    validation: tuple[LabelledText, ...]


def first_of_each(task: Task) -> Task:
    """Returns the task with its first 1,000 examples and validation examples, in the files' order."""
    return replace(task, examples=task.examples[:PAPER_EXAMPLES], validation=task.validation[:PAPER_EXAMPLES])


def split_task(task: Task, kind: str = WHOLE, *, seed: int | None = None, held_out: int | None = None) -> Split:
    """Returns the examples for training and those for validation, at most `held_out` of the latter.

    A task without a validation file is split by `seed` (the template's if None), in the same way on any machine;
    without `held_out`, the template names the share for validation. Raises `UserError` for an unknown kind of split,
    and if a part would be empty.
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
