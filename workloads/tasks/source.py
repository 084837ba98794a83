"""A user's description of a task: where its data is and how to read it. Quick to import, as every plan needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from foundation.errors import UserError
from foundation.plugins import Registry, require_callable
from foundation.text import printable

BUILT_IN = "reviews"
MOVIE_REVIEWS = "movie-reviews"
CODE = "code"
LONG_REVIEWS = "long-reviews"
NAMED_TASKS = (BUILT_IN, MOVIE_REVIEWS, CODE, f"{LONG_REVIEWS}-512", f"{LONG_REVIEWS}-1024")
"""Tasks without a user's file: 96 packaged reviews, movie reviews fetched once, generated ones (own_tasks.py)."""


@dataclass(frozen=True)
class TaskFiles:
    """The files of a plugin's task: a data file, or a folder with train and dev files, and a template (YAML) for it.

    Without a template, the one that explains the columns is used.
    """

    data: Path
    template: Path | None = None


Notify: TypeAlias = Callable[[str], None]
FindTask: TypeAlias = Callable[[Notify], TaskFiles]
"""A plugin's function, which returns the task's files and may fetch them; `notify` gets a line before a download."""


def _accept(name: str, loaded: object) -> FindTask:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return] # its result is checked when it is called


TASKS: Registry[FindTask | None] = Registry("tasks", dict.fromkeys(NAMED_TASKS), _accept)
"""Named tasks; None for the suite's own."""

WHOLE = "whole"
PAPER = "paper"
SPLITS = (WHOLE, PAPER)
"""`whole`: all examples; `paper`: the first 1,000 of each part, as in the paper (in the files' order)."""


@dataclass(frozen=True)
class TaskSource:
    """A task as the user chose it.

    `task`: a name of NAMED_TASKS, the path of a data file, or of a folder with published train and dev files.

    `validation`: the path of a data file with validation examples. `template`: the name of a built-in template or the
    path of a YAML file; None: the one that explains the columns. `label_map`: what each label of the file means.
    `ignored_columns`: columns that don't change what the label means.
    """

    task: str = BUILT_IN
    validation: str | None = None
    template: str | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()


def resolve_path(text: str, folder: Path) -> str:
    """Returns a path relative to `folder`, with `~` expanded. Raises `UserError` for a path that no file can have."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"The home folder in {printable(text, 80)!r} is unknown: write the absolute path.") from error
    if "\0" in text:
        raise UserError(f"{printable(text, 80)!r} contains a NUL, which no path can: correct it.")
    return str(folder / path)


def resolve_task(text: str, folder: Path) -> str:
    """Returns the name of a named task unchanged, any other text as a path like `resolve_path`."""
    return text if text in TASKS else resolve_path(text, folder)


def may_be_elsewhere(task: str | None) -> bool:
    """Returns whether a task's files may have to be fetched first. Raises PluginError for a broken plugin's task."""
    return task == MOVIE_REVIEWS or (task is not None and TASKS.get(task) is not None)


def resolve_template(text: str, folder: Path) -> str:
    """Returns the name of a template unchanged, the path of a YAML file like `resolve_path`."""
    return resolve_path(text, folder) if text.lower().endswith((".yaml", ".yml")) else text


def parse_label_map(pairs: Iterable[str]) -> dict[str, str]:
    """Returns `Pos=positive` as {"pos": "positive"}; raises `UserError` for a pair of another form."""
    found: dict[str, str] = {}
    for pair in pairs:
        source, equals, name = (fold_label(part) for part in pair.rpartition("="))
        if not (equals and name):
            raise UserError(f"--label-map has {pair!r}: write LABEL=NAME for each, such as pos=positive,neg=negative.")
        if found.setdefault(source, name) != name:
            raise UserError(f"--label-map reads {source!r} as {found[source]!r} and as {name!r}: choose one of them.")
    return found


@functools.lru_cache(maxsize=4096)
def fold_label(text: str) -> str:
    """Returns a label in the form used for comparison: lower case, whole numbers without a fraction (1.0 is 1)."""
    text = text.strip().lower()
    whole, _, fraction = text.partition(".")
    is_whole = whole.lstrip("-").isdecimal() and fraction.strip("0") == ""
    return whole if is_whole else text
