"""Reads the tables that `suite data export` wrote to a folder, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from reports.text.escaping import csv_text
from suite.results import tables
from suite.results.findings import findings_about, joined_names
from suite.results.stored import require_known
from suite.results.tables import Cell, Chunk, Kind, Selection, Table

_AT_ONCE = 1 << 16
_INDEX = ("measurement_id", "run_id", "started_at", "device", "model", "quant")

Columns = Mapping[str, Sequence[Cell]]


class ExportedTables:
    """The exported tables in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def close(self) -> None:
        """Does nothing: files are open only while they are read."""

    def chunks(self, table: Table, selection: Selection) -> Iterator[Chunk]:
        """Yields the chosen rows. Raises UserError for an unknown name, or a file that is missing or damaged."""
        if table is tables.FINDINGS:
            yield from self._findings(selection)
            return
        if selection.sensors:
            known = (sensor for piece in self._pieces(tables.SAMPLES, ("sensor",)) for sensor in piece["sensor"])
            require_known("sensor", selection.sensors, {str(sensor) for sensor in known})
        ids = self._chosen(selection)
        for piece in self._pieces(table, tuple(table.columns)):
            places = list(range(len(piece["measurement_id"])))
            if ids is not None:
                places = [place for place in places if piece["measurement_id"][place] in ids]
            if selection.sensors:
                places = [place for place in places if piece["sensor"][place] in selection.sensors]
            yield Chunk(len(places), {name: [column[place] for place in places] for name, column in piece.items()})

    def _findings(self, selection: Selection) -> Iterator[Chunk]:
        """Yields the chosen rows of findings, which may name devices that no exported run has measured."""
        pieces = list(self._pieces(tables.FINDINGS, tuple(tables.FINDINGS.columns)))
        devices = {name for piece in pieces for cell in piece["devices"] for name in joined_names(cell)}
        require_known("device", selection.devices, devices.union(map(str, self._index["device"])))
        require_known("setting", selection.settings, set(map(str, self._index["quant"])))
        run_ids = self._run_ids(selection) or None
        for piece in pieces:
            yield findings_about(Chunk(len(piece["run_id"]), piece), selection, run_ids)

    def _run_ids(self, selection: Selection) -> tuple[str, ...]:
        known = list(dict.fromkeys(map(str, self._index["run_id"])))
        return tuple(_run(text, known) for text in selection.runs)

    def _chosen(self, selection: Selection) -> Collection[int] | None:
        """Returns the ids of the chosen measurements, or None for all."""
        wanted = {"device": selection.devices, "model": selection.models, "quant": selection.settings}
        if not (any(wanted.values()) or selection.runs or selection.since or selection.until):
            return None
        index = self._index
        for name, what in (("device", "device"), ("model", "model"), ("quant", "setting")):
            require_known(what, wanted[name], set(map(str, index[name])))
        wanted["run_id"] = self._run_ids(selection)
        chosen = [
            all(not names or index[name][place] in names for name, names in wanted.items())
            and selection.has_begun(str(index["started_at"][place]))
            for place in range(len(index["run_id"]))
        ]
        return {int(str(one)) for one, kept in zip(index["measurement_id"], chosen, strict=True) if kept}

    @cached_property
    def _index(self) -> Columns:
        found: dict[str, list[Cell]] = {name: [] for name in _INDEX}
        for piece in self._pieces(tables.MEASUREMENTS, _INDEX):
            for name, column in piece.items():
                found[name] += column
        return found

    def _pieces(self, table: Table, names: Sequence[str]) -> Iterator[Columns]:
        """Yields some columns of a table, about ten thousand rows at a time."""
        for ending, read in _READERS.items():
            path = self._folder / f"{table.name}.{ending}"
            if path.is_file():
                try:
                    for piece in read(path, table, names):
                        _require_times(path, table, piece)
                        yield piece
                except OSError as error:
                    raise _damage(path, error.strerror or str(error)) from error
                return
        raise UserError(
            f"{self._folder} has no {table.name}.csv or {table.name}.parquet: export with `suite data export` of this "
            "version"
        )


def _run(text: str, known: Sequence[str]) -> str:
    found = [run_id for run_id in known if run_id == text] or [run_id for run_id in known if run_id.startswith(text)]
    if not found:
        raise unknown_name("run", printable(text, 80), known, beginning="there is no")
    if len(found) > 1:
        raise UserError(f"'{printable(text, 80)}' matches {len(found)} runs, give more of it: {', '.join(found[:6])}")
    return found[0]


def _damage(path: Path, what: str) -> UserError:
    return UserError(f"{path} cannot be read ({printable(what, 160)}): export again with `suite data export`")


def _require_columns(path: Path, names: Sequence[str], header: Collection[str]) -> None:
    if lacking := [name for name in names if name not in header]:
        raise _damage(path, f"it lacks the columns {', '.join(lacking)}")


def _require_times(path: Path, table: Table, piece: Columns) -> None:
    for name, column in piece.items():
        if table.columns[name] == "time":
            for text in filter(None, dict.fromkeys(column)):
                try:
                    datetime.fromisoformat(str(text))
                except ValueError as error:
                    raise _damage(path, f"'{text}' in {name} is not a time") from error


def _csv_pieces(path: Path, table: Table, names: Sequence[str]) -> Iterator[Columns]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        try:
            header = next(lines, [])
            _require_columns(path, names, header)
            places = {name: header.index(name) for name in names}
            while rows := list(islice(lines, _AT_ONCE)):
                if any(len(row) != len(header) for row in rows):
                    raise _damage(path, f"before line {lines.line_num + 1} a row does not have {len(header)} cells")
                yield {
                    name: [_CELLS[table.columns[name]](row[place]) for row in rows] for name, place in places.items()
                }
        except (ValueError, KeyError, OverflowError, csv.Error) as error:
            raise _damage(path, f"before line {lines.line_num + 1}: {error}") from error


def _text(cell: str) -> str | None:
    """Returns a text without the apostrophe that keeps spreadsheets from executing it."""
    guarded = cell.startswith("'") and csv_text(cell[1:]) == cell
    return (cell[1:] if guarded else cell) or None


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(map(float, cell.split()))


def _number(cell: str) -> float | None:
    return float(cell.removeprefix("'")) if cell else None


def _truth(cell: str) -> bool | None:
    return {"true": True, "false": False, "": None}[cell]


def _count(cell: str) -> int:
    return int(np.int64(int(cell)))  # OverflowError for one too large for a column


def _whole(cell: str) -> int | None:
    return _count(cell) if cell else None


_CELLS: Mapping[Kind, Callable[[str], Cell]] = {
    **dict.fromkeys(("text", "category", "time"), _text),
    **dict.fromkeys(("number", "value"), _number),
    "whole": _whole,
    "count": _count,
    "truth": _truth,
    "numbers": _numbers,
}


def _parquet_pieces(path: Path, table: Table, names: Sequence[str]) -> Iterator[Columns]:
    parquet, pyarrow = load_pyarrow("read CSV instead")
    try:
        with parquet.ParquetFile(path) as file:
            _require_columns(path, names, file.schema_arrow.names)
            types = arrow_types(pyarrow)
            for name in names:
                if (found := file.schema_arrow.field(name).type) != types[table.columns[name]]:
                    raise _damage(path, f"{name} is {found} instead of {types[table.columns[name]]}")
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=list(names)):
                piece = {name: batch.column(name).to_pylist() for name in names}
                for name, column in piece.items():
                    if table.columns[name] == "numbers":
                        piece[name] = [tuple(cell) for cell in column]
                    elif table.columns[name] == "count" and None in column:
                        raise _damage(path, f"{name} is empty in a row")
                yield piece
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise _damage(path, str(error)) from error


_READERS: Mapping[str, Callable[[Path, Table, Sequence[str]], Iterator[Columns]]] = {
    "parquet": _parquet_pieces,
    "csv": _csv_pieces,
}


def arrow_types(pyarrow: Any) -> Mapping[Kind, Any]:
    """Returns the Parquet type of each kind of column."""
    return {
        **dict.fromkeys(("text", "category", "time"), pyarrow.string()),
        **dict.fromkeys(("whole", "count"), pyarrow.int64()),
        **dict.fromkeys(("number", "value"), pyarrow.float64()),
        "truth": pyarrow.bool_(),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }


def load_pyarrow(instead: str) -> tuple[Any, Any]:
    """Imports `pyarrow.parquet` and `pyarrow`, which takes a while. Raises UserError if they are not installed."""
    try:
        return importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow")
    except ImportError as error:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: run `pip install 'edge-training-suite[parquet]'`, or "
            f"{instead}."
        ) from error
