"""Classification tasks for a language model: texts, a prompt, and an answer for each class; from files or built in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from foundation.errors import UserError

SENTIMENT_LABELS = MappingProxyType({"0": 0, "1": 1, "negative": 0, "positive": 1})


@dataclass(frozen=True)
class Template:
    """How an example becomes text: `<text><suffix><answer>`.

    `answers[c]` is the expected answer for class c; `labels` maps the values of a task file to classes. The
    default is the paper's prompt for SST-2. Raises `UserError` if answers or labels are ambiguous.
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
        """A hash of texts, classes, prompt and answers, but not of the name."""
        rows = [[example.text, example.label] for example in self.examples]
        document = [self.template.suffix, self.template.answers, rows]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()


TEXT_COLUMNS = ("sentence", "text")
LABEL_COLUMN = "label"
#: The placeholder label of files without labels (test splits).
NO_LABEL = ("", "-1")
BUILT_IN = "reviews"

Lines = Sequence[tuple[int, str]]
"""Numbered lines, from 1, without blank ones."""


@dataclass(frozen=True)
class _Row:
    line: int
    text: str
    label: str


def built_in_task(template: Template | None = None) -> Task:
    """96 short reviews of films and products, half of them friendly."""
    text = resources.files("workloads").joinpath("data/reviews.tsv").read_text(encoding="utf-8")
    return _task(BUILT_IN, "the built-in reviews", _read_tsv(_lines(text), "the built-in reviews"), template)


def read_task(path: Path, template: Template | None = None) -> Task:
    """Loads a task, named after its file, from TSV or JSONL.

    Raises `UserError`, with the line's number where there is one, for a file that can't be read, has no labels, or
    has labels that are not in the template.
    """
    readers: dict[str, Callable[[Lines, str], Iterator[_Row]]] = {".tsv": _read_tsv, ".jsonl": _read_jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} ends in {path.suffix or 'nothing'!r}: a task is a .tsv or a .jsonl file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x} at offset {error.start}): convert it to UTF-8."
        ) from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the path of the task file.") from error
    return _task(path.stem, str(path), reader(_lines(text), str(path)), template)


def _lines(text: str) -> Lines:
    # Not splitlines(), which would also split at other characters that a text may contain.
    numbered = enumerate((line.removesuffix("\r") for line in text.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _task(name: str, where: str, rows: Iterator[_Row], template: Template | None) -> Task:
    template = template or Template()
    found = list(rows)
    if not found:
        raise UserError(f"{where} has no examples: a task needs at least one text with its label.")
    if all(row.label in NO_LABEL and row.label not in template.labels for row in found):
        raise UserError(f"{where} has no labels in its {len(found)} rows: use the training or the validation split.")
    unknown = [row for row in found if row.label not in template.labels]
    if unknown:
        raise UserError(
            f"{where} has an unknown label in {len(unknown)} of {len(found)} rows, the first is "
            f"{unknown[0].label[:40]!r} in line {unknown[0].line}: use {', '.join(template.labels)}."
        )
    empty = [row.line for row in found if not row.text.strip()]
    if empty:
        raise UserError(
            f"{where} has no text in {len(empty)} of {len(found)} rows, the first is line {empty[0]}: remove them."
        )
    examples = tuple(Example(row.text.strip(), template.labels[row.label]) for row in found)
    return Task(name, examples, template)


def _read_tsv(lines: Lines, where: str) -> Iterator[_Row]:
    if not lines:
        return
    first = [cell.strip().lower() for cell in lines[0][1].split("\t")]
    text_column = next((first.index(name) for name in TEXT_COLUMNS if name in first), None)
    label_column = first.index(LABEL_COLUMN) if LABEL_COLUMN in first else None
    if text_column is not None and label_column is not None:
        yield from _cells(lines[1:], text_column, label_column, len(first), where)
    elif text_column is not None and len(first) > 1:
        raise UserError(f"{where} has no labels, only the columns {', '.join(first)}: use a split with a label column.")
    elif not any("\t" in line for _, line in lines):
        raise UserError(f"{where} has no labels, only one column: write each line as text, a tab, label.")
    else:
        yield from _cells(lines, 0, 1, 2, where)


def _cells(lines: Lines, text_column: int, label_column: int, columns: int, where: str) -> Iterator[_Row]:
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != columns:
            raise UserError(f"{where}: line {number} has {len(cells)} tab-separated columns instead of {columns}.")
        yield _Row(number, cells[text_column], cells[label_column].strip().lower())


def _read_jsonl(lines: Lines, where: str) -> Iterator[_Row]:
    for number, line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: line {number} is not JSON ({error}): each line holds one object.") from error
        text = next((entry[name] for name in TEXT_COLUMNS if name in entry), None) if isinstance(entry, dict) else None
        if not isinstance(text, str) or not _is_unicode(text):
            raise UserError(f'{where}: line {number} should be an object with "text", a string, and "label".')
        yield _Row(number, text, _label(entry.get(LABEL_COLUMN), number, where))


def _label(value: object, line: int, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UserError(f"{where}: the label in line {line} should be a string or a whole number, not {value!r:.40}.")
    return str(value).strip().lower()


def _is_unicode(text: str) -> bool:
    """Returns False for half a surrogate pair, which JSON allows but no tokenizer reads."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
