"""The rows of a task's file, whatever its format, and their limits.

A value inside another object is named `outer.inner`; a list of objects becomes one list for each of their names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError

#: The largest published task is MNLI with 0.4 million rows.
MOST_ROWS = 600_000
MOST_COLUMNS = 1000
MOST_CELLS = 6_000_000


@dataclass(frozen=True)
class Row:
    """One row: the line or entry in which it starts, from 1, and its values by column."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a file, which errors call `where`; a row is called a `unit`.

    `has_names` is False for a delimited file without a header, whose columns are initially named 1, 2, ... `notes` are
    sentences about what was left out.
    """

    where: str
    unit: str
    rows: tuple[Row, ...]
    has_names: bool = True
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        """Each combination of names that rows have, once: in JSON Lines, names may differ from row to row."""
        return tuple(dict.fromkeys(tuple(row.values) for row in self.rows))

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for shape in self.shapes for name in shape))

    @functools.cached_property
    def _is_nested(self) -> bool:
        return any(isinstance(value, dict | list) for row in self.rows for value in row.values.values())

    def unfolded(self, path: str) -> Table:
        """Returns the table with a row for each object in the lists along `path` (`passage.questions.answers`)."""
        if not self._is_nested:
            return self
        steps = tuple(filter(None, path.split(".")))
        rows: list[Row] = []
        cells = 0
        for row in self.rows:
            for flat in _unfold(row.values, steps, ""):
                rows.append(Row(row.line, flat))
                cells += len(flat)
                if len(rows) > MOST_ROWS or cells > MOST_CELLS:
                    raise UserError(f"{self.where}, unfolded, has {too_many()}: keep a part of it.")
        return Table(self.where, self.unit, tuple(rows), self.has_names, self.notes)

    def renamed(self, names: Sequence[str]) -> Table:
        """Returns the table with `names` for the columns 1, 2, ..."""
        rows = [Row(row.line, dict(zip(names, row.values.values(), strict=True))) for row in self.rows]
        return Table(self.where, self.unit, tuple(rows), self.has_names, self.notes)


def require_few(rows: int, columns: int, where: str) -> None:
    """Raises `UserError` for a table that is too large."""
    if is_too_many(rows, columns):
        raise UserError(f"{where} has {rows} rows of {columns} columns, {too_many()}: keep a part of it.")


def is_too_many(rows: int, columns: int) -> bool:
    """Returns whether a table is too large."""
    return rows > MOST_ROWS or columns > MOST_COLUMNS or rows * columns > MOST_CELLS


def too_many() -> str:
    """Returns the limits, for messages."""
    return f"more than {MOST_ROWS} rows, {MOST_COLUMNS} columns or {MOST_CELLS} cells"


def _unfold(value: Mapping[str, Any], path: tuple[str, ...], prefix: str) -> Iterator[dict[str, Any]]:
    """Yields the flattened value, once for each object in the lists along `path`."""
    step = path[0] if path and path[0] in value else None
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if name != step:
            flat |= _flattened(inner, prefix + name)
    if step is None:
        yield flat
        return
    items = value[step] if isinstance(value[step], list) else [value[step]]
    for item in items:
        if not isinstance(item, dict):
            yield flat | {prefix + step: item}  # no template uses such values
            continue
        for deeper in _unfold(item, path[1:], f"{prefix}{step}."):
            yield flat | deeper


def _flattened(value: object, name: str) -> dict[str, Any]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        inner_names = dict.fromkeys(key for item in value for key in item)
        return {f"{name}.{inner}": [item.get(inner) for item in value] for inner in inner_names}
    if not isinstance(value, dict):
        return {name: value}
    below = [_flattened(inner, f"{name}.{key}") for key, inner in value.items()]
    return {key: leaf for each in below for key, leaf in each.items()}
