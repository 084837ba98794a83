"""Exports runs of the store to files: tables over all of them, or a document for each, which another lab can import.

Tables are CSV for spreadsheets and Parquet for data frames, in stored units at full precision, with units in the names.
A file is complete or absent.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from sqlalchemy import Connection, select

from foundation.atomic import replacing, replacing_text
from foundation.errors import UserError
from foundation.unavailable import Json
from reports.text.escaping import csv_text, finite
from suite.exchange.document import FORMAT, SCHEMA
from suite.results.exported import arrow_types, load_pyarrow
from suite.results.stored import Scope, stored_chunks
from suite.results.tables import TABLES, Cell, Chunk, Table, cells
from suite.store import schema
from suite.store.dialect import Row
from suite.store.identity import MEASUREMENT_VERSION
from suite.store.run_contents import StoredMeasurement, StoredSession, measurements, run_row, sessions
from suite.store.store import Store

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
    """Collects rows in groups of 65,536 or more, so that memory does not depend on the file's size."""

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
        """Writes the collected rows."""
        if self._rows:
            self._writer.write_table(self._pyarrow.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0


@contextlib.contextmanager
def csv_file(table: Table, folder: Path) -> Iterator[TableFile]:
    """Opens `folder`/TABLE.csv. Text that a spreadsheet would execute gets an apostrophe. Raises OSError."""
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
    # "-inf" would start a formula.
    return "'-inf" if cell == float("-inf") else cell


def export_tables(store: Store, run_ids: Sequence[str], file_format: str, folder: Path) -> list[Path]:
    """Writes the tables of the runs as csv or parquet. Returns the files.

    Raises UserError if the folder cannot be written or pyarrow is missing.
    """
    require_format(file_format)
    scope = Scope(run_ids=run_ids)
    with _writable(folder), contextlib.ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        files = [stack.enter_context(FORMATS[file_format](table, folder)) for table in TABLES]
        with store.database.reading() as connection:
            for table, file in zip(TABLES, files, strict=True):
                for chunk in stored_chunks(connection, table, scope):
                    file.add(chunk)
    return [folder / f"{table.name}.{file_format}" for table in TABLES]


def export_documents(store: Store, run_ids: Sequence[str], folder: Path) -> list[Path]:
    """Writes each run with its steps and samples as `folder`/RUN.json. Returns the files.

    Raises UserError if the folder cannot be written.
    """
    written = []
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for run_id in run_ids:
            path = folder / f"{run_id}.json"
            with replacing(path) as stream, store.database.reading() as connection:
                _write_run(stream, connection, run_id)
            written.append(path)
    return written


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the export cannot be written to {folder} ({error.strerror}, error {error.errno}): name another folder "
            "with --to, or free space there"
        ) from error


def _write_run(stream: BinaryIO, connection: Connection, run_id: str) -> None:
    """Writes a run measurement by measurement, so that a long run does not have to fit into memory."""
    run = run_row(connection, run_id)
    head = _json(_head(connection, run))
    stream.write(head[:-1] + b',\n"measurements":[')
    for index, stored in enumerate(measurements(connection, run)):
        stream.write((b",\n" if index else b"\n") + _json(_measurement(connection, stored)))
    stream.write(b"]}\n")


def _json(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _head(connection: Connection, run: Row) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "measurement_version": MEASUREMENT_VERSION,
        **{key: run[key] for key in ("started_at", "finished_at", "status")},
        "run_id": run["id"],
        **{key: json.loads(run[key]) for key in ("command", "plan", "environment")},
        "devices": _devices(connection, run["id"]),
        "artifacts": _artifacts(connection, run["id"]),
    }


def _devices(connection: Connection, run_id: str) -> list[Json]:
    """Returns the run's devices. If hardware changed meanwhile, the newest entry has the states of all."""
    device, measurement, state = schema.device, schema.measurement, schema.device_state
    used = select(measurement.c.device_id).where(measurement.c.run_id == run_id)
    seen = select(state.c.device_id).where(state.c.run_id == run_id)
    chosen = select(device).where(device.c.id.in_(used.union(seen))).order_by(device.c.id)
    found: dict[str, Json] = {}
    states_of: dict[str, list[Json]] = {}
    for row in connection.execute(chosen).mappings().all():
        states = select(state).where(state.c.run_id == run_id, state.c.device_id == row["id"]).order_by(state.c.id)
        known = states_of.setdefault(row["name"], [])
        known += [_state(item) for item in connection.execute(states).mappings()]
        found[row["name"]] = {
            "name": row["name"],
            "kind": row["kind"],
            "emulated": bool(row["emulated"]),
            "hardware": json.loads(row["hardware"]),
            "states": known,
        }
    return list(found.values())


def _state(row: Row) -> dict[str, Json]:
    parsed = {key: json.loads(row[key]) for key in ("facts", "preflight")}
    return {"at": row["at"], "os_build": row["os_build"], **parsed}


def _artifacts(connection: Connection, run_id: str) -> list[Json]:
    table = schema.artifact
    used = select(schema.measurement.c.artifact_hash).where(schema.measurement.c.run_id == run_id)
    rows = connection.execute(select(table).where(table.c.hash.in_(used)).order_by(table.c.hash)).mappings()
    return [
        {"hash": row["hash"], "workload": json.loads(row["workload"]), "metadata": json.loads(row["metadata"])}
        for row in rows
    ]


def _measurement(connection: Connection, stored: StoredMeasurement) -> dict[str, Json]:
    row = stored.row
    return {
        "device": row["name"],
        **{key: json.loads(row[key]) for key in ("workload", "reference_losses")},
        **{key: row[key] for key in ("role", "planned_sessions", "started_at", "finished_at")},
        "artifact": row["artifact_hash"],
        "runner": row["runner_hash"],
        "document": None if row["document"] is None else json.loads(row["document"]),
        "sessions": [_session(session) for session in sessions(connection, row["id"])],
    }


def _session(session: StoredSession) -> dict[str, Json]:
    row = session.row
    defects = json.loads(row["defects"])
    return {
        "session_id": row["id"],
        **{key: row[key] for key in ("ordinal", "attempt", "status", "reason", "cause", "sentence", "committed_at")},
        **json.loads(row["events"]),
        **{key: json.loads(row[key]) for key in ("idle", "sensor_errors")},
        "defects": [{"kind": kind, "line": line, "detail": detail} for kind, line, detail in defects],
        "steps": {
            "index": [step.index for step in session.steps],
            "phase": [step.phase for step in session.steps],
            "t0_ns": [step.t0_ns for step in session.steps],
            "t1_ns": [step.t1_ns for step in session.steps],
            "losses": [finite(step.losses) for step in session.steps],
        },
        "samples": [
            {
                "sensor": trace.sensor,
                "quantity": trace.quantity,
                "clock_error_ms": trace.clock_error_ms,
                "t_ns": list(trace.t_ns),
                "value": list(trace.values),
            }
            for trace in session.samples.values()
        ],
    }
