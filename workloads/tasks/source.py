"""What a user says about a task: where its data lies and how it is to be read. Light, as every plan has it."""

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
"""Tasks that need no file of the user's: 96 reviews in the package, rated movie reviews that are fetched once, and what
is made by rule (own_tasks.py)."""


@dataclass(frozen=True)
class TaskFiles:
    """Where a plugin's task lies: a data file, or a folder with train and dev files, and a template (YAML) for it.

    Without a template, the one that explains the columns is taken.
    """

    data: Path
    template: Path | None = None


Notify: TypeAlias = Callable[[str], None]
FindTask: TypeAlias = Callable[[Notify], TaskFiles]
"""What a plugin's task is: returns the files, and may fetch them; `notify` gets a line before a download."""


def _accept(name: str, loaded: object) -> FindTask:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return]  # what it returns is seen when it is called


TASKS: Registry[FindTask | None] = Registry("tasks", dict.fromkeys(NAMED_TASKS), _accept)
"""Named tasks; None for the suite's own."""

WHOLE = "whole"
PAPER = "paper"
SPLITS = (WHOLE, PAPER)
"""`whole`: all examples; `paper`: the first 1,000 of each part, as the paper has it (in the order of the files)."""


@dataclass(frozen=True)
class TaskSource:
    """`task`: a name of NAMED_TASKS, the path of a data file, or of a folder with published train and dev files.

    `validation`: the path of a data file with validation examples. `template`: the name of a built-in template or the
    path of a YAML file; None: the one that explains the columns. `label_map`: what a label of the file is read as.
    `ignored_columns` don't change what the label means.
    """

    task: str = BUILT_IN
    validation: str | None = None
    template: str | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()


def resolve_path(text: str, folder: Path) -> str:
    """Returns a path from `folder`, without a `~`. Raises `UserError` for one that no file can have."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"The home folder in {printable(text, 80)!r} is unknown: write the whole path.") from error
    if "\0" in text:
        raise UserError(f"{printable(text, 80)!r} holds a NUL, which no path can: correct it.")
    return str(folder / path)


def resolve_task(text: str, folder: Path) -> str:
    """Returns the name of a named task as it is, else the path as `resolve_path` does."""
    return text if text in TASKS else resolve_path(text, folder)


def may_be_elsewhere(task: str | None) -> bool:
    """Returns whether a task's files may have to be fetched first. Raises PluginError for a plugin's that is broken."""
    return task == MOVIE_REVIEWS or (task is not None and TASKS.get(task) is not None)


def resolve_template(text: str, folder: Path) -> str:
    """Returns the name of a template as it is, but the path of a YAML file as `resolve_path` does."""
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
    """Returns a label as labels are compared: in lower case, and a whole number without its fraction (1.0 is 1)."""
    text = text.strip().lower()
    whole, _, fraction = text.partition(".")
    is_whole = whole.lstrip("-").isdecimal() and fraction.strip("0") == ""
    return whole if is_whole else text
