"""The tables as files: CSV for spreadsheets, Parquet for data frames. A file is there whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TextIO

from foundation.atomic import replacing, replacing_text
from foundation.errors import UserError
from reports.escaping import csv_text
from suite.exchange.tables import Cell, Cells, Table

_ROW_GROUP = 1 << 16


class TableFile(Protocol):
    """Takes the rows of one table."""

    def add(self, rows: Iterable[Cells]) -> None:
        """Writes rows, each as long as the table has columns."""


class _Csv:
    def __init__(self, table: Table, text: TextIO) -> None:
        self._writer = csv.writer(text, lineterminator="\n")
        self._writer.writerow(table.columns)

    def add(self, rows: Iterable[Cells]) -> None:
        self._writer.writerows([_csv_cell(cell) for cell in row] for row in rows)


class _Parquet:
    """Rows are collected to groups of 65,536, so that the file's size does not matter."""

    def __init__(self, table: Table, writer: Any, schema: Any) -> None:
        self._table, self._writer, self._schema = table, writer, schema
        self._rows: list[Cells] = []

    def add(self, rows: Iterable[Cells]) -> None:
        for row in rows:
            self._rows.append(row)
            if len(self._rows) == _ROW_GROUP:
                self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        if self._rows:
            pyarrow = _pyarrow()
            columns = [
                pyarrow.array(column, type=field.type)
                for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))
            self._rows.clear()


@contextlib.contextmanager
def csv_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """`folder`/TABLE.csv. What a spreadsheet would run as a formula gets an apostrophe. Raises OSError."""
    with replacing_text(folder / f"{table.name}.csv") as text:
        yield _Csv(table, text)


@contextlib.contextmanager
def parquet_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """`folder`/TABLE.parquet, with a type for each column. Raises OSError."""
    pyarrow = _pyarrow()
    types = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in table.columns.items()])
    with (
        replacing(folder / f"{table.name}.parquet") as stream,
        pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        file = _Parquet(table, writer, schema)
        yield file
        file.flush()


FORMATS: dict[str, Callable[[Table, Path], AbstractContextManager[TableFile]]] = {
    "csv": csv_file,
    "parquet": parquet_file,
}


def require_format(name: str) -> None:
    """UserError when what writes the format is not installed."""
    if name == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: run `pip install 'edge-training-suite[parquet]'`, or "
            "choose --format csv."
        )


def _pyarrow() -> Any:
    """The optional library, which takes a while to load."""
    importlib.import_module("pyarrow.parquet")
    return importlib.import_module("pyarrow")


def _csv_cell(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, tuple):
        return " ".join(str(number) for number in cell)
    if isinstance(cell, str):
        return csv_text(cell)
    return _number_text(cell)


def _number_text(number: float) -> str | int | float:
    # "-inf" would begin a formula.
    return "'-inf" if number == float("-inf") else number
