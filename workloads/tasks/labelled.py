"""Turns rows of a file into labelled texts with a template: a prompt, its candidates, and which of them is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError, listed
from foundation.text import printable
from workloads.tasks.rows import DAMAGED_SHARE
from workloads.tasks.source import fold_label
from workloads.tasks.table import Row, Table
from workloads.tasks.template import Choices, Template, fill

#: The placeholder label of files without labels (test splits).
NO_LABEL = ("", "-1")


@dataclass(frozen=True)
class LabelledText:
    """A prompt's `text`, its candidates, which of these is `right`, and the `line` (row, entry) it comes from."""

    text: str
    candidates: tuple[str, ...]
    right: int
    line: int = 0


@dataclass(frozen=True)
class Labels:
    """The meaning of a file's labels: first `renamed` (from the command line), then the template."""

    template: Template
    renamed: Mapping[str, str]

    def name(self, value: object) -> str:
        """Returns the name of the candidate that a file's label stands for, or the label itself if it is unknown."""
        text = label_text(value)
        text = self.renamed.get(text, text)
        return self.template.labels.get(text, text)

    @property
    def known(self) -> tuple[str, ...]:
        """All labels that a file may have; empty if each row has its own."""
        names = (*self.renamed, *self.template.candidates, *self.template.labels)
        return tuple(dict.fromkeys(names)) if self.template.choices is None else ()


def label_text(value: object) -> str:
    """Returns a label as text: 1, 1.0, "1" and "1.0" are equal, and so are true and "True"; a missing label is empty.

    Raises ValueError for a list or an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r}")
    return fold_label(str(value))


def check_label_map(template: Template, renamed: Mapping[str, str]) -> None:
    """Raises `UserError` if a label is mapped to one that the template does not have."""
    if template.choices is not None:
        return
    for source, name in renamed.items():
        if name not in template.candidates:
            raise UserError(
                f"--label-map reads {source!r} as {name!r}, which the template does not have: choose from "
                f"{listed(template.candidates)}."
            )


def labelled_texts(
    table: Table, template: Template, renamed: Mapping[str, str]
) -> tuple[tuple[LabelledText, ...], tuple[str, ...]]:
    """Returns the labelled texts of a table that has the template's columns, and sentences about what was left out.

    Raises `UserError`, with the line's number, for a table without rows or labels, for labels that the template does
    not have, and for texts that are missing.
    """
    if not table.rows:
        raise UserError(f"{table.where} has no examples: a task needs at least one text with its label.")
    labels = Labels(template, renamed)
    values = [_label(table, template, row) for row in table.rows]
    if all(value in NO_LABEL and value not in labels.known for value in values):
        raise UserError(
            f"{table.where} has no labels in its {len(values)} rows: use the training or the validation split."
        )
    _check_known(table, labels, values)
    texts, empty = [], []
    for row, value in zip(table.rows, values, strict=True):
        text = _labelled_text(table, template, labels, row, value)
        if text is None:
            empty.append(row.line)
        else:
            texts.append(text)
    if not empty:
        return tuple(texts), table.notes
    if len(empty) > DAMAGED_SHARE * len(values):
        raise UserError(
            f"{table.where} has no text in {len(empty)} of {len(values)} rows, the first is {table.unit} {empty[0]}: "
            "remove them."
        )
    note = f"{len(empty)} of {len(values)} rows of {table.where} have no text and are left out, first {empty[0]}"
    return tuple(texts), (*table.notes, note)


def _label(table: Table, template: Template, row: Row) -> str:
    column = template.column_of(row.values, "label")
    try:
        return label_text(row.values[column]) if column is not None else ""
    except ValueError as error:
        raise UserError(
            f"{table.where}: the label in {table.unit} {row.line} should be a word or a number, not "
            f"{printable(str(error), 40)}: correct the file."
        ) from error


def _check_known(table: Table, labels: Labels, values: Sequence[str]) -> None:
    if labels.template.choices is not None:
        return
    unknown = [
        (row.line, value)
        for row, value in zip(table.rows, values, strict=True)
        if labels.name(value) not in labels.template.candidates
    ]
    if unknown:
        line, value = unknown[0]
        header = "" if table.has_names or line > 1 else ", or name the columns in a header"
        raise UserError(
            f"{table.where} has an unknown label in {len(unknown)} of {len(values)} rows, the first is "
            f"{printable(value, 40)!r} in {table.unit} {line}: use {listed(labels.known)}, map it with "
            f"--label-map{header}."
        )


def _labelled_text(table: Table, template: Template, labels: Labels, row: Row, value: str) -> LabelledText | None:
    """Returns the row as a prompt with candidates; None if a text is empty."""
    lists = () if template.choices is None else (template.choices.texts, template.choices.names)
    fields = {name: _text(table, template, row, name) for name in template.fields if name not in lists}
    if not all(fields.values()):
        return None
    for name, replaced in template.words.items():
        word = fold_label(fields[name])
        if word not in replaced:
            raise UserError(
                f"{table.where}: {name} in {table.unit} {row.line} is {printable(fields[name], 40)!r}, which the "
                f"template does not have: use {listed(replaced)}."
            )
        fields[name] = replaced[word]
    if template.choices is not None:
        names, candidates = _choices(table, template, template.choices, row)
        right = labels.name(value)
        if right not in names:
            raise UserError(
                f"{table.where}: the label in {table.unit} {row.line} is {printable(right, 40)!r}, but its choices are "
                f"{listed(names)}: correct the file."
            )
    else:
        names = tuple(template.candidates)
        candidates = tuple(fill(pattern, fields) for pattern in template.candidates.values())
        right = labels.name(value)
    text = fill(template.prompt, fields)
    # A space belongs to the word that follows it: tokenizers join the two.
    spaces = text[len(text.rstrip(" ")) :]
    text = text.rstrip(" ")
    if not text:
        raise UserError(
            f"{table.where}: {table.unit} {row.line} has no text before its candidates, so nothing can predict them: "
            f"remove the {table.unit}."
        )
    return LabelledText(text, tuple(spaces + one for one in candidates), names.index(right), row.line)


def _text(table: Table, template: Template, row: Row, name: str) -> str:
    """Returns the text of a field, stripped; an empty one if it is missing in this row."""
    column = template.column_of(row.values, name)
    value = row.values[column] if column is not None else None
    if column is None:
        raise UserError(
            f"{table.where}: {table.unit} {row.line} has no {' or '.join(template.fields[name])}: add it, or remove "
            f"the {table.unit}."
        )
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return _checked(table, row, column, value)


def _checked(table: Table, row: Row, column: str, value: object) -> str:
    if not isinstance(value, str) or not _is_unicode(value):
        raise UserError(
            f"{table.where}: {column} in {table.unit} {row.line} should be text, not {printable(repr(value), 40)}: "
            "correct the file."
        )
    return value.strip()


def _choices(table: Table, template: Template, choices: Choices, row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names and the texts of a row's candidates."""
    listed_values: list[list[object]] = []
    text_column = ""
    for field in (choices.names, choices.texts):
        column = template.column_of(row.values, field)
        values: Any = row.values.get(column) if column is not None else None
        if column is None or not isinstance(values, list) or len(values) < 2:
            raise UserError(
                f"{table.where}: {column or ' or '.join(template.fields[field])} in {table.unit} {row.line} should be "
                f"a list of two or more, not {printable(repr(values), 40)}: use the JSON Lines or Parquet export."
            )
        text_column = column
        listed_values.append(values)
    names = tuple(label_text(value) for value in listed_values[0])
    texts = [_checked(table, row, text_column, value) for value in listed_values[1]]
    if len(names) != len(texts) or not all(texts):
        raise UserError(
            f"{table.where}: {table.unit} {row.line} has {len(names)} names for {sum(map(bool, texts))} choices "
            f"with a text: correct or remove the {table.unit}."
        )
    return names, tuple(fill(choices.candidate, {"choice": text}) for text in texts)


def _is_unicode(text: str) -> bool:
    """Returns False for half a surrogate pair, which JSON allows but no tokenizer accepts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
