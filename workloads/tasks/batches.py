"""Batches of a fixed shape, which measuring takes: which rows, in which order, as which tokens.

An example is cut to length and padded on the left, with its labels at the end. The runner's inputs.bin holds the
batches of each input one after the other, int64, little endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.atomic import replacing
from foundation.errors import UserError
from workloads.models.tokenizer import Tokenizer
from workloads.tasks.encoding import RowLayout, candidates_of_a_row, encode_examples
from workloads.tasks.task import Task

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatches:
    """n batches of b rows.

    `tokens` int64 [n, b, T]: padded on the left with the tokenizer's pad id.
    `first` int64 [n, b]: the index of each row's first real token.
    `labels` int64 [n, b, K]: what the last K positions predict, -1 where an answer is shorter than K.
    `classes` int64 [n, b]: the index of each row's right candidate. `candidates`: how many candidates every example of
    the task has, if all are one token; else 1, as each then needs a row of its own.
    There are `rows` different examples, of which `truncated_rows` lost the beginning of their text.
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

    Every example comes once before any comes again. K is that of the program, or the length of the longest candidate
    of the whole task. Raises `UserError` if b, T or count is not above 0, if T is too short for the prompt, or if a
    candidate is longer than K.
    """
    for name, value in (("b", b), ("T", T), ("the number of batches", count)):
        if value <= 0:
            raise UserError(f"{name} is {value}, but it must be 1 or more.")
    order = shuffled(len(task.examples), count * b, seed)
    used = sorted(set(order))
    encoded = encode_examples([task.examples[index] for index in used], task.template, tokenizer)
    # K must not depend on which examples are drawn: where candidates differ from row to row, all of them count.
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
        """Returns the entry as the job file has it."""
        return {**asdict(self), "shape": list(self.shape)}


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> list[FileInput]:
    """Writes arrays [batches, ...] one after the other, little endian; returns their entries in the same order.

    The file appears whole or not at all. Raises OSError.
    """
    entries = []
    offset = 0
    with replacing(path) as file:
        for name, array in arrays.items():
            shape, batches = array.shape[1:], array.shape[0]
            entries.append(FileInput(name, array.dtype.name, shape, path.name, offset, batches))
            offset += file.write(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return entries
