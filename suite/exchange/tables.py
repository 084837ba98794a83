"""Files of tables: CSV for spreadsheets and Parquet for data frames.

Stored units at full precision, units in the names. A file is complete or absent.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TextIO

from foundation.atomic import replacing, replacing_text
from reports.text.escaping import csv_text
from suite.results.exported import arrow_types, load_pyarrow
from suite.results.tables import Cell, Chunk, Table, cells

_ROW_GROUP = 1 << 16


class TableFile(Protocol):
    """Takes the rows of one table."""

    def add(self, chunk: Chunk) -> None:
        """Writes the rows of a chunk."""


class _Csv:
    def __init__(self, table: Table, text: TextIO) -> None:
        self._table, self._writer = table, csv.writer(text, lineterminator="\n")
        self._writer.writerow(table.columns)

    def add(self, chunk: Chunk) -> None:
        columns = [list(map(_csv_cell, cells(chunk, name))) for name in self._table.columns]
        self._writer.writerows(zip(*columns, strict=True))


class _Parquet:
    """Collects rows in groups of 65,536 and more, so that memory does not depend on the file's size."""

    def __init__(self, writer: Any, schema: Any, pyarrow: Any) -> None:
        self._writer, self._schema, self._pyarrow = writer, schema, pyarrow
        self._batches: list[Any] = []
        self._rows = 0

    def add(self, chunk: Chunk) -> None:
        columns = [self._pyarrow.array(cells(chunk, field.name), type=field.type) for field in self._schema]
        self._batches.append(self._pyarrow.record_batch(columns, schema=self._schema))
        self._rows += chunk.rows
        if self._rows >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        if self._rows:
            self._writer.write_table(self._pyarrow.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0


@contextlib.contextmanager
def csv_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """Opens `folder`/TABLE.csv. What a spreadsheet would run as a formula gets an apostrophe. Raises OSError."""
    with replacing_text(folder / f"{table.name}.csv") as text:
        yield _Csv(table, text)


@contextlib.contextmanager
def parquet_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """Opens `folder`/TABLE.parquet, with a type for each column. Raises OSError."""
    parquet, pyarrow = load_pyarrow(_INSTEAD)
    types = arrow_types(pyarrow)
    schema = pyarrow.schema([(name, types[kind]) for name, kind in table.columns.items()])
    with (
        replacing(folder / f"{table.name}.parquet") as stream,
        parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        file = _Parquet(writer, schema, pyarrow)
        yield file
        file.flush()


FORMATS: dict[str, Callable[[Table, Path], AbstractContextManager[TableFile]]] = {
    "csv": csv_file,
    "parquet": parquet_file,
}
_INSTEAD = "choose --format csv"


def require_format(name: str) -> None:
    """Raises UserError if the library that writes the format is not installed."""
    if name == "parquet":
        load_pyarrow(_INSTEAD)


def _csv_cell(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, tuple):
        return " ".join(str(number) for number in cell)
    if isinstance(cell, str):
        return csv_text(cell)
    # "-inf" would begin a formula.
    return "'-inf" if cell == float("-inf") else cell
