"""How a row of a data file becomes a prompt with candidates: a template, which is a YAML file (docs/tasks.md).

The built-in ones are in `templates/`; their prompts follow those published with MeZO and MobiZO.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from foundation.errors import UserError, unknown_name
from foundation.yaml_lines import YamlFile, first_problem, parse_yaml, place_of, read_yaml, sentence_of
from workloads.tasks.source import fold_label

#: What `{field:change}` may do to a text.
CHANGES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "": lambda text: text,
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "upper_first": lambda text: text[:1].upper() + text[1:],
        "without_stop": lambda text: text.rstrip().removesuffix("."),
        "before_blank": lambda text: text.partition("_")[0],
        "after_blank": lambda text: text.partition("_")[2],
    }
)

#: Columns that only number rows; the empty name and `unnamed: 0` are the index of a pandas frame.
NUMBERING = frozenset({"", "idx", "index", "id", "guid", "qid", "uid", "unnamed: 0", "__index_level_0__"})


def _names(value: object) -> object:
    """Accepts `column` for `[column]`, and folds the names like those of files."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return names
    return [name.strip().casefold() if isinstance(name, str) else name for name in names]


Columns = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _by_label(value: object) -> object:
    """Folds names of labels like those of files. Raises ValueError if two become the same."""
    if not isinstance(value, dict):
        return value
    folded = {fold_label(name): inner for name, inner in value.items()}
    if len(folded) < len(value):
        raise ValueError("two of its names are the same label")
    return folded


def _to_labels(value: object) -> object:
    """Does the same, and folds the values as well."""
    folded = _by_label(value)
    if not isinstance(folded, dict):
        return folded
    return {name: fold_label(inner) if isinstance(inner, str) else inner for name, inner in folded.items()}


ByLabel = Annotated[dict[str, str], BeforeValidator(_by_label)]
LabelToLabel = Annotated[dict[str, str], BeforeValidator(_to_labels)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Choices(_Strict):
    """Candidates that a row lists: the fields of their texts and of their names, and how a text becomes a candidate."""

    texts: str
    names: str
    candidate: str = " {choice}"


class Splits(_Strict):
    """Patterns of published files' names (the first that exists counts), and how one file is split by a seed."""

    train: tuple[str, ...] = ("train.*", "train-*", "training.*")
    validation: tuple[str, ...] = ("dev.*", "val.*", "validation.*", "validation-*")
    validation_share: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.1
    seed: StrictInt = 0


class Template(_Strict):
    """The content of a task's YAML file.

    `fields`: the texts of a row by name, each with the columns that may have it. `label`: the columns that may have the
    label; `labels`: the candidate for each of a file's labels that isn't itself a candidate's name. `prompt`: text with
    `{field}` or `{field:change}` in it. Either `candidates`, a text by the name of each, or `choices`, if rows list
    them. `words`: replacements of a field's values. `headerless`: the columns of a file without a header. `unfold`: the
    lists inside a row whose objects become rows.
    """

    about: str = ""
    fields: Annotated[dict[str, Columns], Field(min_length=1)]
    label: Columns = ("label",)
    labels: LabelToLabel = {}
    prompt: str
    candidates: ByLabel = {}
    choices: Choices | None = None
    words: dict[str, ByLabel] = {}
    headerless: Columns = ()
    ignored: Columns = ()
    unfold: str = ""
    splits: Splits = Splits()

    @model_validator(mode="after")
    def _check(self) -> Template:
        for pattern in (self.prompt, *self.candidates.values()):
            self._check_pattern(pattern, tuple(self.fields))
        if not _has_fields(self.prompt):
            raise ValueError("the prompt names no field: write one such as {sentence}")
        self._check_candidates()
        for name, replaced in self.words.items():
            if name not in self.fields or not replaced:
                raise ValueError(f"`words` has no field {name!r}: name one of {', '.join(self.fields)}")
        unknown = sorted(set(self.labels.values()) - set(self.candidates)) if self.choices is None else []
        if unknown:
            raise ValueError(f"the label {unknown[0]!r} has no candidate: use {', '.join(self.candidates)}")
        return self

    def _check_candidates(self) -> None:
        if bool(self.candidates) == (self.choices is not None):
            raise ValueError("a template needs either `candidates` or `choices`: give one of them")
        if self.choices is not None:
            self._check_pattern(self.choices.candidate, ("choice",))
            for name in (self.choices.texts, self.choices.names):
                if name not in self.fields:
                    raise ValueError(f"`choices` names the field {name!r}: name one of {', '.join(self.fields)}")
            if not _has_fields(self.choices.candidate):
                raise ValueError("the candidate of `choices` is the same for all choices: put {choice} into it")
            return
        texts = list(self.candidates.values())
        if len(texts) < 2 or len(set(texts)) < len(texts) or not all(text.strip() for text in texts):
            raise ValueError("a template needs two or more candidates, all different and none empty")

    def _check_pattern(self, pattern: str, known: tuple[str, ...]) -> None:
        try:
            found = pieces(pattern)
        except ValueError as error:
            raise ValueError(f"{pattern!r} has a misplaced brace ({error}): write {{{{ or }}}} for a brace") from error
        for _, name, change in found:
            if name is not None and name not in known:
                raise ValueError(f"{pattern!r} names the field {name!r}: name one of {', '.join(known)}")
            if change not in CHANGES:
                raise ValueError(f"{pattern!r} has no change {change!r}: use one of {', '.join(filter(None, CHANGES))}")

    @property
    def constants(self) -> tuple[str, ...] | None:
        """The candidates (the verbalizers of the labels) if they are the same for all rows, else None."""
        if self.choices is not None or any(map(_has_fields, self.candidates.values())):
            return None
        return tuple(self.candidates.values())

    @property
    def tail(self) -> str:
        """The end of every prompt, after its last field."""
        text, name, _ = pieces(self.prompt)[-1]
        return text if name is None else ""

    def column_of(self, columns: Mapping[str, Any] | tuple[str, ...], field: str) -> str | None:
        """Returns the first existing column that may have the field; the label's field is `label`."""
        names = self.label if field == "label" else self.fields[field]
        return next((name for name in names if name in columns), None)


@functools.cache
def pieces(pattern: str) -> tuple[tuple[str, str | None, str], ...]:
    """Returns the parts of a pattern: literal text before, name of the field or None, and its change.

    Raises ValueError for a misplaced brace, and for a conversion such as `!r`.
    """
    parts = tuple(Formatter().parse(pattern))
    conversions = [conversion for *_, conversion in parts if conversion is not None]
    if conversions:
        raise ValueError(f"!{conversions[0]}")
    return tuple((text, name, change or "") for text, name, change, _ in parts)


def _has_fields(pattern: str) -> bool:
    return any(name is not None for _, name, _ in pieces(pattern))


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Returns the pattern with the fields' values filled in."""
    return "".join(
        text + (CHANGES[change](values[name]) if name is not None else "") for text, name, change in pieces(pattern)
    )


def load_template(name: str) -> Template:
    """Returns the built-in template of that name, or the template in a YAML file.

    Raises `UserError`, with file and line, for one that doesn't exist or isn't valid.
    """
    built_in = built_in_templates()
    if name in built_in:
        return built_in[name]
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise unknown_name("template", name, built_in)
    try:
        file = read_yaml(path, what="template")
    except OSError as error:
        raise UserError(f"The template {path} can't be read ({error.strerror}): check its path.") from error
    return _parsed(file)


@functools.cache
def built_in_templates() -> Mapping[str, Template]:
    """Returns the templates of the package by name."""
    folder = resources.files("workloads").joinpath("tasks/templates")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return MappingProxyType(
        {
            file.name.removesuffix(".yaml"): _parsed(parse_yaml(Path(file.name), file.read_bytes(), what="template"))
            for file in files
        }
    )


def _parsed(file: YamlFile) -> Template:
    try:
        return Template.model_validate(file.value if file.value is not None else {})
    except ValidationError as error:
        problem = first_problem(error)
        place = place_of(problem)
        sections: dict[object, type[BaseModel]] = {"choices": Choices, "splits": Splits}
        known = sections.get(place[0], Template) if len(place) > 1 else Template
        raise file.error(place, sentence_of(problem, known.model_fields)) from error
