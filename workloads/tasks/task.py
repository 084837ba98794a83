"""A classification task as a language model sees it: texts, a prompt, an answer per class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from foundation.errors import UserError

SENTIMENT_LABELS = MappingProxyType({"0": 0, "1": 1, "negative": 0, "positive": 1})


@dataclass(frozen=True)
class Template:
    """How an example becomes text: `<text><suffix><answer>`.

    `answers[c]` is what the model should say for class c; `labels` maps the values of a task file to classes. The
    default is the prompt of the paper for SST-2. Raises `UserError` for a template that can't tell classes apart.
    """

    suffix: str = " It was"
    answers: tuple[str, ...] = (" terrible", " great")
    labels: Mapping[str, int] = field(default_factory=lambda: SENTIMENT_LABELS)

    def __post_init__(self) -> None:
        if not self.suffix:
            raise UserError("A prompt needs words between the text and the answer, such as ' It was'.")
        if len(self.answers) < 2 or len(set(self.answers)) < len(self.answers) or not all(self.answers):
            raise UserError(f"A prompt needs two or more answers, all different and none empty, not {self.answers!r}.")
        if set(self.labels.values()) != set(range(len(self.answers))):
            raise UserError(
                f"The labels {dict(self.labels)} should lead to each of the {len(self.answers)} answers and no other."
            )


@dataclass(frozen=True)
class Example:
    """One text and the class it belongs to."""

    text: str
    label: int


@dataclass(frozen=True)
class Task:
    """Labelled texts with the template that turns them into prompts."""

    name: str
    examples: tuple[Example, ...]
    template: Template

    @property
    def sha256(self) -> str:
        """Identifies texts, classes, prompt and answers; the name does not count."""
        rows = [[example.text, example.label] for example in self.examples]
        document = [self.template.suffix, self.template.answers, rows]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()
