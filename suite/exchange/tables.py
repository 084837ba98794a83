"""Measurements, sessions, steps and samples as four tables, in CSV for spreadsheets and in Parquet for data frames.

Stored units at full precision, units in the names. A file is complete or absent.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from foundation.atomic import replacing, replacing_text
from foundation.errors import UserError
from foundation.unavailable import Unavailable, is_number
from reports.model.quantities import COLUMNS
from reports.model.quantities import Kind as MeasurementKind
from reports.model.reading import Odd
from reports.text.escaping import csv_text
from suite.store.run_contents import StoredMeasurement, StoredSession

Kind = MeasurementKind | Literal["numbers"]
Cell = str | int | float | bool | tuple[float, ...] | None
Cells = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table's name and its columns with their kinds; `numbers` is a list of numbers in one cell."""

    name: str
    columns: Mapping[str, Kind]


_WORKLOAD: Mapping[str, Kind] = {
    **dict.fromkeys(("model", "method", "quant", "backend"), "text"),
    **dict.fromkeys(("q", "b", "T", "rank"), "whole"),
}
_NAMED: Mapping[str, Kind] = {
    "run_id": "text",
    "measurement_id": "whole",
    "role": "text",
    "device": "text",
    "workload_key": "text",
}
_SESSION: Mapping[str, Kind] = {**_NAMED, "session_id": "text"}

MEASUREMENTS = Table(
    "measurements",
    {
        **_NAMED,
        **dict.fromkeys(("started_at", "purpose", "kind"), "text"),
        "emulated": "truth",
        **_WORKLOAD,
        "planned_sessions": "whole",
        **dict.fromkeys(("status", "reason"), "text"),
        **{column.name: column.kind for column in COLUMNS},
        "unavailable": "text",
    },
)
SESSIONS = Table(
    "sessions",
    {
        **_SESSION,
        **dict.fromkeys(("ordinal", "attempt"), "whole"),
        **dict.fromkeys(("status", "reason", "cause"), "text"),
        **dict.fromkeys(("median_ms", "load_ms"), "number"),
        **dict.fromkeys(("hwm_kib", "t_begin_ns"), "whole"),
        **dict.fromkeys(("idle_before_mw", "idle_after_mw"), "number"),
        "committed_at": "text",
    },
)
STEPS = Table(
    "steps",
    {
        **_SESSION,
        "step": "whole",
        "phase": "text",
        **dict.fromkeys(("t0_ns", "t1_ns"), "whole"),
        **dict.fromkeys(("latency_ms", "mean_loss"), "number"),
        "losses": "numbers",
    },
)
SAMPLES = Table(
    "samples", {**_SESSION, **dict.fromkeys(("sensor", "quantity"), "text"), "t_ns": "whole", "value": "number"}
)
TABLES = (MEASUREMENTS, SESSIONS, STEPS, SAMPLES)


def measurement_row(stored: StoredMeasurement) -> Cells:
    """Returns a row of `MEASUREMENTS`."""
    row, measurement = stored.row, stored.measurement
    workload = json.loads(row["workload"])
    found = [] if measurement is None else [(column, column.read(measurement)) for column in COLUMNS]
    missing = [
        f"{column.name}: {cell.reason}"
        for column, cell in found
        if isinstance(cell, Unavailable) and not isinstance(cell, Odd)
    ]
    cells = [_of_kind(cell, column.kind) for column, cell in found] or [None] * len(COLUMNS)
    return (
        *_named(stored),
        *(stored.run["started_at"], stored.run["purpose"], row["kind"], bool(row["emulated"])),
        *(_of_kind(workload.get(name), kind) for name, kind in _WORKLOAD.items()),
        *(row["planned_sessions"], row["status"], row["reason"]),
        *cells,
        "; ".join(missing) if measurement is not None else "the measurement was not finished",
    )


def session_row(stored: StoredMeasurement, session: StoredSession) -> Cells:
    """Returns a row of `SESSIONS`."""
    row, idle = session.row, json.loads(session.row["idle"])
    columns = ("ordinal", "attempt", "status", "reason", "cause", "median_ms", "load_ms", "hwm_kib", "t_begin_ns")
    return (
        *(*_named(stored), row["id"]),
        *(row[name] for name in columns),
        *(idle.get("before_mw"), idle.get("after_mw"), row["committed_at"]),
    )


def step_rows(stored: StoredMeasurement, session: StoredSession) -> Iterator[Cells]:
    """Yields a session's rows of `STEPS`. Losses may be NaN or infinite."""
    named = (*_named(stored), session.row["id"])
    for step in session.steps:
        mean = sum(step.losses) / len(step.losses) if step.losses else None
        yield (*named, step.index, step.phase, step.t0_ns, step.t1_ns, step.latency_ms, mean, tuple(step.losses))


def sample_rows(stored: StoredMeasurement, session: StoredSession) -> Iterator[Cells]:
    """Yields a session's rows of `SAMPLES`; the quantity names the value's unit."""
    for trace in session.samples.values():
        named = (*_named(stored), session.row["id"], trace.sensor, trace.quantity)
        for t_ns, sampled in zip(trace.t_ns, trace.values, strict=True):
            yield (*named, t_ns, float(sampled))


def _named(stored: StoredMeasurement) -> tuple[Cell, ...]:
    row = stored.row
    return (row["run_id"], row["id"], row["role"], row["name"], row["workload_key"])


def _of_kind(found: Any, kind: Kind) -> Cell:
    """Returns the value if it is of its column's kind, else None."""
    if kind == "truth":
        return found if isinstance(found, bool) else None
    if kind == "text":
        return found if isinstance(found, str) else None
    if not is_number(found):
        return None
    return float(found) if kind == "number" else int(found)


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
    """Collects rows in groups of 65,536, so that memory does not depend on the file's size."""

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
    """Opens `folder`/TABLE.csv. What a spreadsheet would run as a formula gets an apostrophe. Raises OSError."""
    with replacing_text(folder / f"{table.name}.csv") as text:
        yield _Csv(table, text)


@contextlib.contextmanager
def parquet_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """Opens `folder`/TABLE.parquet, with a type for each column. Raises OSError."""
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
    """Raises UserError if the library that writes the format is not installed."""
    if name == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: run `pip install 'edge-training-suite[parquet]'`, or "
            "choose --format csv."
        )


def _pyarrow() -> Any:
    """Imports the optional library, which takes a while."""
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
