"""A task's batches as arrays: which rows, in which order, as which tokens.

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
from workloads.tasks.task import Task, Template

#: A text after which a new token certainly starts; what follows is tokenized as after any text.
ANCHOR = "a"
NO_LABEL = -1


@dataclass(frozen=True)
class Row:
    """One padded row: T ids in `tokens`, real from `first` on, and K `labels`."""

    tokens: list[int]
    first: int
    labels: list[int]
    truncated: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Turns the tokens of a text into a row of T tokens and K labels.

    `answers[c]` are the tokens of class c's answer, K is the longest answer's length.
    """

    T: int
    pad_id: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def build(cls, template: Template, tokenizer: Tokenizer, T: int) -> PromptEncoder:
        """Raises `UserError` if T leaves no room for a token of the text."""
        prefix = tuple(tokenizer.prefix)
        suffix = _continuation(tokenizer, ANCHOR, template.suffix)
        answers = tuple(_continuation(tokenizer, ANCHOR + template.suffix, answer) for answer in template.answers)
        encoder = cls(T, tokenizer.pad_id, prefix, suffix, answers)
        needed = T - min(encoder.text_budget(label) for label in range(len(answers))) + 1
        if needed > T:
            raise UserError(
                f"T is {T}, but the prompt {template.suffix!r} and its answers need {needed} tokens, one of the text "
                f"among them: use T={needed} or more."
            )
        return encoder

    @property
    def K(self) -> int:  # noqa: N802 the contract's name
        """Labels per row."""
        return max(len(answer) for answer in self.answers)

    def text_budget(self, label: int) -> int:
        """Returns the number of text tokens that fit beside prompt and answer."""
        return self.T - len(self.prefix) - len(self.suffix) - (len(self.answers[label]) - 1)

    def row(self, text: Sequence[int], label: int) -> Row:
        """Returns the row of a text; one that is too long loses its beginning, but not its prompt and answer."""
        answer = self.answers[label]
        budget = self.text_budget(label)
        tail = text[-budget:]
        real = [*self.prefix, *tail, *self.suffix, *answer[:-1]]
        first = self.T - len(real)
        return Row(
            tokens=[self.pad_id] * first + real,
            first=first,
            labels=[NO_LABEL] * (self.K - len(answer)) + list(answer),
            truncated=len(tail) < len(text),
        )


def _continuation(tokenizer: Tokenizer, before: str, text: str) -> tuple[int, ...]:
    """Returns the tokens that `text` adds after `before`; encoded alone, it could get an extra space."""
    head, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    if whole[: len(head)] != head or len(whole) == len(head):
        raise UserError(
            f"The tokenizer merges {text!r} with the text before it: begin the prompt and the answers with a space."
        )
    return tuple(whole[len(head) :])


Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskBatches:
    """n batches of b rows.

    `tokens` int64 [n, b, T]: padded on the left with the tokenizer's pad id.
    `first` int64 [n, b]: the index of each row's first real token.
    `labels` int64 [n, b, K]: what the last K positions predict, -1 where an answer is shorter than K.
    `classes` int64 [n, b]: the class of each row's example.
    `answers`: the tokens of each class's answer.
    There are `rows` different examples, of which `truncated_rows` lost the beginning of their text.
    """

    tokens: Int64Array
    first: Int64Array
    labels: Int64Array
    classes: Int64Array
    answers: tuple[tuple[int, ...], ...]
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


def batches(task: Task, tokenizer: Tokenizer, b: int, T: int, count: int, seed: int) -> TaskBatches:
    """Makes `count` batches of `b` rows of `T` tokens; the same arguments give the same arrays on any machine.

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
    """Returns `count` indices below `size`, epoch after epoch, each epoch in its own order.

    Sorted by a hash of seed, epoch and index: unlike a library's generator, this never changes between versions.
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
