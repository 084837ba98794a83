"""Chooses the template for a file: the one that the user names, else the only one that explains all of its columns.

A column that no field uses may change what the label means (QNLI needs both question and sentence), so it is never
ignored silently: the user declares it irrelevant, or chooses a template that uses it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from foundation.errors import UserError, listed
from foundation.text import printable
from workloads.tasks.labelled import Labels, label_text
from workloads.tasks.table import Table
from workloads.tasks.template import NUMBERING, Template

#: The template for plain sentences with a label, if the labels don't decide.
DEFAULT = "sst2"


def known_columns(templates: Collection[Template]) -> frozenset[str]:
    """Returns all names that identify a file's header."""
    names: set[str] = set(NUMBERING) - {""}
    for template in templates:
        names |= {*template.label, *template.ignored, *(name for names in template.fields.values() for name in names)}
    return frozenset(names)


def laid_out(table: Table, template: Template) -> Table:
    """Returns the table as the template sees it: nested lists unfolded, columns without a header named."""
    if not table.has_names and len(table.columns) == len(template.headerless):
        return table.renamed(template.headerless)
    return table.unfolded(template.unfold)


def recognize(
    table: Table, templates: Mapping[str, Template], ignored: Collection[str], renamed: Mapping[str, str], path: Path
) -> str:
    """Returns the name of the template that reads the table.

    If several explain its columns, the labels decide, then the names in the file's path (such as `glue/RTE/train.tsv`).
    Raises `UserError` if none or more than one is left.
    """
    fitting = {name: each for name, each in templates.items() if not _lacks(laid_out(table, each), each)}
    exact = {name: each for name, each in fitting.items() if not unexplained(laid_out(table, each), each, ignored)}
    if not fitting:
        raise _no_template(table, templates)
    if not exact:
        name = max(fitting, key=lambda one: (len(fitting[one].fields), one == DEFAULT))
        raise _unexplained_error(table, name, unexplained(laid_out(table, fitting[name]), fitting[name], ignored))
    readable = [name for name in exact if _knows_labels(laid_out(table, exact[name]), exact[name], renamed)]
    left = readable or list(exact)
    named = [name for name in left if name in _words(path)]
    if len(named) == 1:
        return named[0]
    if DEFAULT in left:
        return DEFAULT
    by_name = [name for name in left if _labels(table, exact[name]) <= set(exact[name].candidates)]
    left = by_name or left
    readings = [_reading(laid_out(table, exact[name]), exact[name], renamed) for name in left]
    if all(reading == readings[0] for reading in readings):
        return left[0]
    raise UserError(f"{table.where} can be read with the templates {', '.join(left)}: choose one with --template.")


def require_columns(table: Table, name: str, template: Template, ignored: Collection[str]) -> None:
    """Raises `UserError` unless the table, as laid out, has the template's columns and no others."""
    missing = _lacks(table, template)
    if missing:
        raise UserError(
            f"{table.where} has no {missing[0]}, which the template {name} needs, only {_columns(table)}: choose "
            "another with --template."
        )
    others = unexplained(table, template, ignored)
    if others:
        raise _unexplained_error(table, name, others)


def unexplained(table: Table, template: Template, ignored: Collection[str]) -> list[str]:
    """Returns the columns that the template neither uses nor ignores."""
    left_out = {*NUMBERING, *template.ignored, *ignored}
    found: dict[str, None] = {}
    for shape in table.shapes:
        used = {template.column_of(shape, field) for field in (*template.fields, "label")}
        found |= dict.fromkeys(name for name in shape if name not in used and name not in left_out)
    return list(found)


def _lacks(table: Table, template: Template) -> list[str]:
    """Returns the columns that the table lacks, the label last, with the names that they may have."""
    columns = table.columns
    lacking = [field for field in template.fields if template.column_of(columns, field) is None]
    found = [" or ".join(template.fields[field]) for field in lacking]
    return found if template.column_of(columns, "label") is not None else [*found, " or ".join(template.label)]


def _unexplained_error(table: Table, name: str, columns: list[str]) -> UserError:
    names = ",".join(printable(column, 40) for column in columns[:6])
    return UserError(
        f"{table.where} has {len(columns)} columns that the template {name} does not use ({names}): choose one that "
        f"does with --template, or add --ignore-columns {names!r} if they do not change what the label means."
    )


def _no_template(table: Table, templates: Mapping[str, Template]) -> UserError:
    for each in templates.values():
        lacking = _lacks(laid_out(table, each), each)
        if lacking == [" or ".join(each.label)]:
            return UserError(
                f"{table.where} has no labels, only the columns {_columns(table)}: use a split with a label column."
            )
    if not table.has_names:
        return UserError(
            f"{table.where} has no header that names its {len(table.columns)} columns: add one, such as `sentence` "
            "and `label`, or choose a template that has `headerless` columns with --template."
        )
    return UserError(
        f"{table.where} has the columns {_columns(table)}, which none of the templates {', '.join(templates)} reads: "
        "rename them, or write a template and name it with --template."
    )


def _columns(table: Table) -> str:
    return listed(printable(name, 40) for name in table.columns)


def _labels(table: Table, template: Template) -> set[str]:
    laid = laid_out(table, template)
    column = template.column_of(laid.columns, "label")
    found: set[str] = set()
    for row in laid.rows:
        try:
            found.add(label_text(row.values.get(column or "")))
        except ValueError:
            found.add("")
    return found


def _knows_labels(table: Table, template: Template, renamed: Mapping[str, str]) -> bool:
    labels = Labels(template, renamed)
    return template.choices is not None or {labels.name(value) for value in _labels(table, template)} <= set(
        template.candidates
    )


def _reading(table: Table, template: Template, renamed: Mapping[str, str]) -> tuple[object, ...]:
    """Returns everything in which templates with the same columns differ: MNLI's 1 is neutral, CB's a contradiction."""
    labels = Labels(template, renamed)
    meanings = {value: labels.name(value) for value in _labels(table, template)}
    return template.prompt, template.candidates, meanings


def _words(path: Path) -> set[str]:
    """Returns the names in a file's path in the form of template names: `SST-2` gives sst2, `ARC-Easy` gives arc."""
    parts = (*path.resolve().parts[-3:-1], path.stem)
    whole = {re.sub(r"[^a-z0-9]", "", part.lower()) for part in parts}
    return whole | {word for part in parts for word in re.split(r"[^a-z0-9]+", part.lower())}
