"""One example as token ids: cut to length, padded on the left, with labels at the end.

A row is `prefix text suffix answer[:-1]`: what precedes the last token of the answer. Its last positions so predict the
answer's tokens, and no position is spent on a token that nothing is predicted from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foundation.errors import UserError
from workloads.tasks.task import Template
from workloads.tokenizer import Tokenizer

#: A text whose tokens are known to end at its end; what follows it is tokenized as it would be after any text.
ANCHOR = "a"
NO_LABEL = -1


@dataclass(frozen=True)
class Row:
    """One padded row: `tokens` has T ids of which those from `first` on are real, `labels` has K."""

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
        """How many tokens of text fit beside prompt and answer."""
        return self.T - len(self.prefix) - len(self.suffix) - (len(self.answers[label]) - 1)

    def row(self, text: Sequence[int], label: int) -> Row:
        """The row of a text's tokens; a text that is too long loses its beginning, prompt and answer stay whole."""
        answer = self.answers[label]
        budget = self.text_budget(label)
        kept = text[-budget:]
        real = [*self.prefix, *kept, *self.suffix, *answer[:-1]]
        first = self.T - len(real)
        return Row(
            tokens=[self.pad_id] * first + real,
            first=first,
            labels=[NO_LABEL] * (self.K - len(answer)) + list(answer),
            truncated=len(kept) < len(text),
        )


def _continuation(tokenizer: Tokenizer, before: str, text: str) -> tuple[int, ...]:
    """The tokens that `text` adds after `before`; encoded alone it could get a space that it does not have there."""
    head, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    if whole[: len(head)] != head or len(whole) == len(head):
        raise UserError(
            f"The tokenizer merges {text!r} with the text before it: begin the prompt and the answers with a space."
        )
    return tuple(whole[len(head) :])
