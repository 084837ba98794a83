"""Labelled texts as token ids, and as rows: padded on the left, the positions that predict the answer at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foundation.errors import UserError
from workloads.models.tokenizer import Tokenizer
from workloads.tasks.labelled import LabelledText
from workloads.tasks.template import Template

#: A text after which a new token certainly starts; what follows is tokenized as it would be after any text.
ANCHOR = "a"
NO_LABEL = -1


@dataclass(frozen=True)
class Example:
    """A labelled text as token ids: its prompt (without the tokens before every text), and each of its candidates.

    `right` is the index of the right candidate, `line` the line that the example comes from.
    """

    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    right: int
    line: int = 0


def encode_examples(texts: Sequence[LabelledText], template: Template, tokenizer: Tokenizer) -> list[Example]:
    """Returns the texts as token ids.

    Candidates that are the same for all examples are encoded as after any text, others as after their own prompt: if
    the tokenizer joins a candidate with the end of its prompt, the joined token belongs to the candidate. Raises
    `UserError` if it would join the template's own words.
    """
    prompts = tokenizer.encode_many([text.text for text in texts])
    answers = constant_answers(template, tokenizer)
    if answers is not None:
        return [
            Example(tuple(prompt), answers, text.right, text.line) for prompt, text in zip(prompts, texts, strict=True)
        ]
    whole = iter(tokenizer.encode_many([text.text + one for text in texts for one in text.candidates]))
    examples = []
    for prompt, text in zip(prompts, texts, strict=True):
        rows = [next(whole) for _ in text.candidates]
        shared = min(_common(prompt, row) for row in rows)
        if any(len(row) == shared for row in rows):
            raise UserError(f"A candidate of line {text.line} adds no token to its prompt: correct or remove the line.")
        candidates = tuple(tuple(row[shared:]) for row in rows)
        examples.append(Example(tuple(prompt[:shared]), candidates, text.right, text.line))
    return examples


def candidates_of_a_row(examples: Sequence[Example]) -> int:
    """Returns how many candidates a row can have: all, if they are single tokens, equally many everywhere; else 1."""
    counts = {len(example.candidates) for example in examples}
    are_tokens = all(len(one) == 1 for example in examples for one in example.candidates)
    return counts.pop() if are_tokens and len(counts) == 1 else 1


def constant_answers(template: Template, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...] | None:
    """Returns the tokens of each candidate if these are the same for all examples, else None."""
    if template.constants is None:
        return None
    tail = template.tail.rstrip(" ")
    spaces = template.tail[len(tail) :]
    return tuple(_continuation(tokenizer, ANCHOR + tail, spaces + one) for one in template.constants)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns the number of leading tokens that both share."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def _continuation(tokenizer: Tokenizer, before: str, text: str) -> tuple[int, ...]:
    """Returns the tokens that `text` adds after `before`; encoded alone, it could get an extra space."""
    head, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    if whole[: len(head)] != head or len(whole) == len(head):
        raise UserError(
            f"The tokenizer merges {text!r} with the text before it: start the prompt and the answers with a space."
        )
    return tuple(whole[len(head) :])


@dataclass(frozen=True)
class Row:
    """One padded row: T ids in `tokens`, real from `first` on, and K `labels`."""

    tokens: list[int]
    first: int
    labels: list[int]
    truncated: bool


@dataclass(frozen=True)
class RowLayout:
    """How an example becomes a row of T tokens and K labels, after the tokens `prefix` of every sequence."""

    T: int
    K: int
    pad_id: int
    prefix: tuple[int, ...]

    @classmethod
    def fitting(
        cls, examples: Sequence[Example], template: Template, tokenizer: Tokenizer, T: int, K: int | None = None
    ) -> RowLayout:
        """Returns the layout of rows of T tokens, with a program's K or the longest candidate's length.

        Raises `UserError` if a candidate is longer than K, or if T leaves no room for a token of the text.
        """
        longest = max(len(one) for example in examples for one in example.candidates)
        if K is not None and longest > K:
            example = next(each for each in examples if max(map(len, each.candidates)) > K)
            raise UserError(
                f"A candidate of line {example.line} has {max(map(len, example.candidates))} tokens, but the program "
                f"predicts K={K}: shorten it, or export for this task, which needs K={longest}."
            )
        prefix = tuple(tokenizer.prefix)
        tail = len(_continuation(tokenizer, ANCHOR, template.tail)) if template.tail.rstrip(" ") else 0
        needed = len(prefix) + 1 + tail + longest - 1
        if needed > T:
            raise UserError(
                f"T is {T}, but the prompt {template.tail!r} and its answers need {needed} tokens, including one of "
                f"the text: use T={needed} or more."
            )
        return cls(T, longest if K is None else K, tokenizer.pad_id, prefix)

    def row(self, example: Example, candidate: int) -> Row:
        """Returns the row of an example with one of its candidates; a prompt that is too long loses its start."""
        answer = example.candidates[candidate]
        budget = self.T - len(self.prefix) - (len(answer) - 1)
        tail = example.prompt[-budget:]
        real = [*self.prefix, *tail, *answer[:-1]]
        first = self.T - len(real)
        return Row(
            tokens=[self.pad_id] * first + real,
            first=first,
            labels=[NO_LABEL] * (self.K - len(answer)) + list(answer),
            truncated=len(tail) < len(example.prompt),
        )
