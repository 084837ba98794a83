"""Classification tasks for a language model: prompts with candidates, from files, downloads, or built in."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from foundation.errors import UserError, listed
from workloads.tasks.labelled import LabelledText, check_label_map, labelled_texts
from workloads.tasks.own_tasks import MADE_TASKS, built_in_reviews, movie_reviews
from workloads.tasks.recognition import DEFAULT, known_columns, laid_out, recognize, require_columns
from workloads.tasks.rows import read_table, read_tsv_text
from workloads.tasks.source import BUILT_IN, MOVIE_REVIEWS, TASKS, FindTask, TaskFiles, TaskSource
from workloads.tasks.table import Table
from workloads.tasks.template import Splits, Template, built_in_templates, load_template

_ENDINGS = (".tsv", ".csv", ".json", ".jsonl", ".parquet", ".txt", ".ndjson")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Labelled texts with the template that made them.

    `validation`: the examples of a published or named validation file; else empty. `notes` are sentences about rows
    that were left out.
    """

    name: str
    examples: tuple[LabelledText, ...]
    template: Template
    validation: tuple[LabelledText, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """A hash of all prompts, candidates and labels, but not of the name."""
        rows = [
            [[each.text, each.candidates, each.right] for each in part] for part in (self.examples, self.validation)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@dataclass(frozen=True)
class _Data:
    """The tables of a task, and the file whose path may name the template; None for the default or own `template`."""

    name: str
    path: Path | None
    train: Table
    validation: Table | None = None
    template: Template | None = None


def built_in_task() -> Task:
    """Returns the task of 96 short reviews of films and products, half of them friendly."""
    return open_task(TaskSource(BUILT_IN))


def open_task(source: TaskSource, notify: Callable[[str], None] = _log.info) -> Task:
    """Reads a task; `notify` gets a line before a download.

    Raises `UserError`, with the line's number if there is one, for files that can't be read, columns and labels that
    the template does not have, and templates that aren't valid.
    """
    if (find := TASKS.get(source.task)) is not None:
        return _of_plugin(find, source, notify)
    templates = built_in_templates() if source.template is None else {source.template: load_template(source.template)}
    data = _data(source, templates, notify)
    ignored = [column.strip().casefold() for column in source.ignored_columns]
    if source.template is None and data.template is not None:
        name, template = data.name, data.template
    else:
        name = source.template or _recognized(data, templates, ignored, source.label_map)
        template = templates[name]
    check_label_map(template, source.label_map)
    parts: list[tuple[LabelledText, ...]] = []
    notes: list[str] = []
    for table in (data.train, data.validation):
        if table is None:
            continue
        laid = laid_out(table, template)
        if laid.rows:
            require_columns(laid, name, template, ignored)
        texts, left_out = labelled_texts(laid, template, source.label_map)
        parts.append(texts)
        notes += left_out
    train, validation = (*parts, ())[:2]
    return Task(data.name, train, template, validation, tuple(notes))


def _of_plugin(find: FindTask, source: TaskSource, notify: Callable[[str], None]) -> Task:
    """Reads the files of a plugin's task like a user's; the user's own settings take precedence."""
    with TASKS.running(source.task):
        files: object = find(notify)
        if not isinstance(files, TaskFiles):
            raise TypeError(f"it returned a {type(files).__name__}, not a TaskFiles")
    template = source.template or (None if files.template is None else str(files.template))
    return replace(open_task(replace(source, task=str(files.data), template=template), notify), name=source.task)


def _recognized(
    data: _Data, templates: Mapping[str, Template], ignored: list[str], label_map: Mapping[str, str]
) -> str:
    if data.path is None or not data.train.rows:
        return DEFAULT
    return recognize(data.train, templates, ignored, label_map, data.path)


def _data(source: TaskSource, templates: Mapping[str, Template], notify: Callable[[str], None]) -> _Data:
    known = known_columns(templates.values())
    if source.task == MOVIE_REVIEWS:
        data = _Data(MOVIE_REVIEWS, None, movie_reviews(notify))
    elif source.task == BUILT_IN:
        data = _Data(BUILT_IN, None, read_tsv_text(built_in_reviews(), "the built-in reviews", known))
    elif source.task in MADE_TASKS:
        made = MADE_TASKS[source.task]()
        data = _Data(source.task, None, made.train, made.validation, made.template)
    elif Path(source.task).is_dir():
        data = _of_folder(Path(source.task), templates, known)
    else:
        path = Path(source.task)
        data = _Data(path.stem, path, read_table(path, known))
    if source.validation is None:
        return data
    return replace(data, validation=read_table(Path(source.validation), known))


def _of_folder(folder: Path, templates: Mapping[str, Template], known: frozenset[str]) -> _Data:
    """Reads the published files of a folder, found by the names in the templates."""
    splits = [Splits(), *(template.splits for template in templates.values())]
    if len(templates) == 1:
        splits = splits[1:]
    train = _published(folder, "train", [pattern for each in splits for pattern in each.train])
    validation = _published(folder, "validation", [pattern for each in splits for pattern in each.validation])
    if not train:
        here = listed(sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _ENDINGS))
        raise UserError(
            f"{folder} has no train file, such as train.tsv or train.jsonl (data files: {here}): name the file."
        )
    return _Data(
        folder.name,
        train[0],
        _joined([read_table(path, known) for path in train]),
        _joined([read_table(path, known) for path in validation]) if validation else None,
    )


def _published(folder: Path, part: str, patterns: list[str]) -> list[Path]:
    """Returns the file of the first pattern that matches, or all of its numbered pieces; empty if none matches."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS and path.is_file())
    for pattern in dict.fromkeys(patterns):
        found = [path for path in files if fnmatch.fnmatchcase(path.name, pattern)]
        if len(found) > 1 and not all("-of-" in path.stem for path in found):
            names = listed(path.name for path in found)
            raise UserError(
                f"{folder} has {len(found)} {part} files ({names}): name the one to use instead of the folder."
            )
        if found:
            return found
    return []


def _joined(tables: list[Table]) -> Table:
    first, *others = tables
    if not others:
        return first
    rows = tuple(row for table in tables for row in table.rows)
    where = f"{first.where} and {len(others)} more"
    return Table(where, first.unit, rows, first.has_names, tuple(note for table in tables for note in table.notes))
