"""Reads the tables from a store: SQL selects the rows, which are read some hundred measurements at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Select, func, select

from foundation.errors import unknown_name
from foundation.text import printable
from foundation.unavailable import Unavailable, is_number
from reports.model.measurement import Measurement
from reports.model.quantities import COLUMNS
from reports.model.reading import Odd
from suite.results import tables
from suite.results.findings import finding_chunks, findings_about
from suite.results.tables import Cell, Chunk, Kind, Selection, Table, split_rows
from suite.store import schema
from suite.store.dialect import Row
from suite.store.finding import find_run
from suite.store.session_rows import Columns, unpack_arrays
from suite.store.store import Store

_AT_ONCE = 500
"""Measurements whose rows, with their documents, are in memory at once."""


class StoredTables:
    """The tables of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: Path) -> StoredTables:
        """Opens the store at `path` for reading. Raises StoreError if it is missing, damaged or of another version."""
        return cls(Store.open(path, read_only=True))

    @property
    def name(self) -> str:
        """The store's file."""
        return str(self._store.database.path)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def chunks(self, table: Table, selection: Selection) -> Iterator[Chunk]:
        """Yields the chosen rows. Raises UserError for an unknown device, model, setting, run or sensor."""
        run_ids = [find_run(self._store, text) for text in selection.runs]
        with self._store.database.reading() as connection:
            scope = _scope(connection, selection, run_ids)
            for chunk in stored_chunks(connection, table, scope):
                yield findings_about(chunk, selection) if table is tables.FINDINGS else chunk


@dataclass(frozen=True)
class Scope:
    """A selection in the database's terms; None selects all."""

    run_ids: Collection[str] | None = None
    device_ids: Collection[int] | None = None
    workload_keys: Collection[str] | None = None
    sensors: Collection[str] | None = None


def stored_chunks(connection: Connection, table: Table, scope: Scope) -> Iterator[Chunk]:
    """Yields the rows of a scope by runs and measurements; for findings, all of its runs' rows."""
    if table is tables.FINDINGS:
        yield from finding_chunks(connection, scope.run_ids)
        return
    ids = _measurement_ids(connection, scope)
    for begin in range(0, len(ids), _AT_ONCE):
        yield from _READERS[table.name](connection, ids[begin : begin + _AT_ONCE], scope)


def _measurement_ids(connection: Connection, scope: Scope) -> list[int]:
    measurement = schema.measurement
    statement = select(measurement.c.id)
    for column, chosen in (
        (measurement.c.run_id, scope.run_ids),
        (measurement.c.device_id, scope.device_ids),
        (measurement.c.workload_key, scope.workload_keys),
    ):
        if chosen is not None:
            statement = statement.where(column.in_(list(chosen)))
    return list(connection.execute(statement.order_by(measurement.c.run_id, measurement.c.id)).scalars())


def _scope(connection: Connection, selection: Selection, run_ids: Sequence[str]) -> Scope:
    """Looks up the names of a selection. Raises UserError for an unknown one."""
    return Scope(
        run_ids=_runs(connection, selection, run_ids),
        device_ids=_devices(connection, selection.devices),
        workload_keys=_workload_keys(connection, selection),
        sensors=_sensors(connection, selection.sensors),
    )


def _runs(connection: Connection, selection: Selection, run_ids: Sequence[str]) -> Collection[str] | None:
    if not run_ids and selection.since is None and selection.until is None:
        return None
    rows = connection.execute(select(schema.run.c.id, schema.run.c.started_at)).all()
    return {row.id for row in rows if selection.has_begun(row.started_at) and (not run_ids or row.id in run_ids)}


def _devices(connection: Connection, names: Sequence[str]) -> Collection[int] | None:
    if not names:
        return None
    found: dict[str, list[int]] = {}  # a device whose hardware changed has several
    for row in connection.execute(select(schema.device.c.id, schema.device.c.name)):
        found.setdefault(row.name, []).append(row.id)
    require_known("device", names, found)
    return [device_id for name in names for device_id in found[name]]


def _workload_keys(connection: Connection, selection: Selection) -> Collection[str] | None:
    wanted = {"model": selection.models, "quant": selection.settings}
    if not any(wanted.values()):
        return None
    table = schema.measurement
    newest = select(func.max(table.c.id)).group_by(table.c.workload_key)
    rows = connection.execute(select(table.c.workload_key, table.c.workload).where(table.c.id.in_(newest))).all()
    workloads = {row.workload_key: json.loads(row.workload) for row in rows}
    for part, what in (("model", "model"), ("quant", "setting")):
        require_known(what, wanted[part], {str(one.get(part)) for one in workloads.values()})
    return [
        key
        for key, one in workloads.items()
        if all(not names or str(one.get(part)) in names for part, names in wanted.items())
    ]


def _sensors(connection: Connection, names: Sequence[str]) -> Collection[str] | None:
    if not names:
        return None
    sample = schema.sample
    known = select(sample.c.name).where(sample.c.kind == "sensor").distinct()
    require_known("sensor", names, connection.execute(known).scalars())
    return names


def require_known(what: str, names: Sequence[str], known: Collection[str] | Iterator[str]) -> None:
    """Raises UserError, with a suggestion, for a name that is not `known`."""
    there = set(known)
    for name in names:
        if name not in there:
            raise unknown_name(what, printable(name, 80), there, beginning="there is no")


_NAMES = (schema.measurement.c.run_id, schema.measurement.c.id, schema.measurement.c.role, schema.device.c.name,
          schema.measurement.c.workload_key)  # fmt: skip


def _named_rows(connection: Connection, ids: Sequence[int], *columns: Column[Any]) -> dict[int, Row]:
    """Returns measurements with the columns that name them, by id, in the order of `ids`."""
    measurement = schema.measurement
    statement = (
        select(*_NAMES, *columns)
        .select_from(measurement.join(schema.device).join(schema.run))
        .where(measurement.c.id.in_(ids))
    )
    found = {row["id"]: row for row in connection.execute(statement).mappings()}
    return {measurement_id: found[measurement_id] for measurement_id in ids}


def _name_cells(row: Row) -> tuple[Cell, ...]:
    return (row["run_id"], row["id"], row["role"], row["name"], row["workload_key"])


def _measurement_chunks(connection: Connection, ids: Sequence[int], _scope: Scope) -> Iterator[Chunk]:
    table, device, run = schema.measurement.c, schema.device.c, schema.run.c
    columns = (
        *(run.started_at, run.purpose, device.kind, device.emulated),
        *(table.workload, table.planned_sessions, table.status, table.reason, table.document),
    )
    found = _named_rows(connection, ids, *columns)
    yield split_rows(tables.MEASUREMENTS, [_measurement_cells(row) for row in found.values()])


def _measurement_cells(row: Row) -> tuple[Cell, ...]:
    workload, document = json.loads(row["workload"]), row["document"]
    return (
        *_name_cells(row),
        *(row["started_at"], row["purpose"], row["kind"], bool(row["emulated"])),
        *(_of_kind(workload.get(name), kind) for name, kind in tables.WORKLOAD.items()),
        *(row["planned_sessions"], row["status"], row["reason"]),
        *_number_cells(None if document is None else Measurement.from_document(json.loads(document))),
    )


def _number_cells(measurement: Measurement | None) -> tuple[Cell, ...]:
    """Returns the cells of COLUMNS, followed by why some of them are empty."""
    if measurement is None:
        return (*[None] * len(COLUMNS), "the measurement was not finished")
    found = [(column, column.read(measurement)) for column in COLUMNS]
    missing = [
        f"{column.name}: {cell.reason}"
        for column, cell in found
        if isinstance(cell, Unavailable) and not isinstance(cell, Odd)
    ]
    return (*(_of_kind(cell, column.kind) for column, cell in found), "; ".join(missing))


def _of_kind(found: Any, kind: Kind) -> Cell:
    """Returns the value if it is of the column's kind, else None."""
    if kind == "truth":
        return found if isinstance(found, bool) else None
    if kind in ("text", "category"):
        return found if isinstance(found, str) else None
    if not is_number(found):
        return None
    return float(found) if kind == "number" else int(found)


def _session_chunks(connection: Connection, ids: Sequence[int], _scope: Scope) -> Iterator[Chunk]:
    table = schema.session.c
    columns = (
        *(table.ordinal, table.attempt, table.status, table.reason, table.cause),
        *(table.median_ms, table.load_ms, table.hwm_kib, table.t_begin_ns),
    )
    statement = (
        select(table.measurement_id, table.id, *columns, table.idle, table.committed_at)
        .where(table.measurement_id.in_(ids))
        .order_by(table.ordinal, table.attempt)
    )
    rows: dict[int, list[tuple[Cell, ...]]] = {measurement_id: [] for measurement_id in ids}
    names = _named_rows(connection, ids)
    for measurement_id, session_id, *stored, idle, committed_at in connection.execute(statement):
        power = json.loads(idle)
        known = (*stored, power.get("before_mw"), power.get("after_mw"), committed_at)
        rows[measurement_id].append((*_name_cells(names[measurement_id]), session_id, *known))
    yield split_rows(tables.SESSIONS, [row for of_measurement in rows.values() for row in of_measurement])


def _read_packed(
    connection: Connection, ids: Sequence[int], kind: str, scope: Scope
) -> Iterator[tuple[dict[str, Cell], Row]]:
    """Yields the packed steps, or sensors, of measurements in order, one by one, with the cells that name them."""
    session, sample = schema.session.c, schema.sample.c
    for measurement_id, named in _named_rows(connection, ids).items():
        statement = (
            select(sample.session_id, sample.name, sample.quantity, sample.rows, sample.layout, sample.data)
            .select_from(schema.session.join(schema.sample))
            .where(session.measurement_id == measurement_id, sample.kind == kind)
            .order_by(session.ordinal, session.attempt, sample.id)
        )
        if scope.sensors is not None:
            statement = statement.where(sample.name.in_(list(scope.sensors)))
        names = dict(zip(tables.STEPS.columns, _name_cells(named), strict=False))
        for row in connection.execute(statement).mappings():
            yield {**names, "session_id": row["session_id"]}, row


def _step_chunks(connection: Connection, ids: Sequence[int], scope: Scope) -> Iterator[Chunk]:
    for names, row in _read_packed(connection, ids, "steps", scope):
        found = unpack_arrays(Columns(row["layout"], row["data"]))
        losses, ends = found["losses"].tolist(), np.cumsum(found["loss_count"]).tolist()
        of_step = [tuple(losses[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
        columns = {
            "step": found["index"],
            "phase": ["measured" if phase else "warm_up" for phase in found["phase"].tolist()],
            "t0_ns": found["t0_ns"],
            "t1_ns": found["t1_ns"],
            "latency_ms": (found["t1_ns"] - found["t0_ns"]) / 1e6,
            "mean_loss": [sum(each) / len(each) if each else None for each in of_step],
            "losses": of_step,
        }
        yield Chunk(len(of_step), columns, names)


def _sample_chunks(connection: Connection, ids: Sequence[int], scope: Scope) -> Iterator[Chunk]:
    for names, row in _read_packed(connection, ids, "sensor", scope):
        found = unpack_arrays(Columns(row["layout"], row["data"]))
        same: Mapping[str, Cell] = {**names, "sensor": row["name"], "quantity": row["quantity"]}
        yield Chunk(len(found["t_ns"]), {"t_ns": found["t_ns"], "value": found["value"]}, same)


def _verdict_chunks(connection: Connection, ids: Sequence[int], _scope: Scope) -> Iterator[Chunk]:
    names = _named_rows(connection, ids)
    rows: dict[int, list[tuple[Cell, ...]]] = {measurement_id: [] for measurement_id in ids}
    for row in connection.execute(_last_verdicts(ids)).mappings():
        numbers, inputs = json.loads(row["numbers"]), json.loads(row["inputs"])
        rows[row["measurement_id"]].append(
            (
                *_name_cells(names[row["measurement_id"]]),
                *(row["metric"], row["direction"], row["at"], row["verdict"], row["accepted"] is not None),
                *(_of_kind(inputs.get("cause"), "text"), row["rule"], row["value"]),
                *(_of_kind(numbers.get(name), "number") for name in ("centre", "ratio", "ratio_low", "ratio_high")),
                *(_of_kind(numbers.get(name), "number") for name in ("p", "q")),
                *(_of_kind(inputs.get(name), "text") for name in ("sentence", "command")),
            )
        )
    yield split_rows(tables.VERDICTS, [row for of_measurement in rows.values() for row in of_measurement])


def _last_verdicts(ids: Sequence[int]) -> Select[Any]:
    """Selects the last verdict on each point, with its value and whether its level was accepted."""
    verdict, series, point, acceptance = schema.verdict, schema.series, schema.point, schema.acceptance
    last = (
        select(func.max(verdict.c.id))
        .where(verdict.c.measurement_id.in_(ids))
        .group_by(verdict.c.measurement_id, verdict.c.series_id)
    )
    accepted = (
        select(func.min(acceptance.c.id))
        .where(acceptance.c.series_id == verdict.c.series_id)
        .where(acceptance.c.measurement_id == verdict.c.measurement_id)
        .scalar_subquery()
    )
    same = (point.c.measurement_id == verdict.c.measurement_id) & (point.c.series_id == verdict.c.series_id)
    return (
        select(verdict, series.c.metric, series.c.direction, point.c.value, accepted.label("accepted"))
        .select_from(verdict.join(series).outerjoin(point, same))
        .where(verdict.c.id.in_(last))
        .order_by(verdict.c.id)
    )


_Reader = Callable[[Connection, Sequence[int], Scope], Iterator[Chunk]]
_READERS: Mapping[str, _Reader] = {
    tables.MEASUREMENTS.name: _measurement_chunks,
    tables.SESSIONS.name: _session_chunks,
    tables.STEPS.name: _step_chunks,
    tables.SAMPLES.name: _sample_chunks,
    tables.VERDICTS.name: _verdict_chunks,
}
