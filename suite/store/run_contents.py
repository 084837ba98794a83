"""Reads a run: its row, its measurements, and the sessions of each, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from reports.model.measurement import Measurement
from suite.sessions.events import StepEvent
from suite.sessions.record import SensorTrace
from suite.store import schema
from suite.store.dialect import Row
from suite.store.finding import find_run
from suite.store.identity import IMPORTED
from suite.store.session_rows import load_samples
from suite.store.store import Store

ALL = "all"


@dataclass(frozen=True)
class StoredSession:
    """A session's row, with its steps and each sensor's samples."""

    row: Row
    steps: tuple[StepEvent, ...]
    samples: Mapping[str, SensorTrace]


@dataclass(frozen=True)
class StoredMeasurement:
    """A measurement's row with its device's `name`, `kind`, `emulated`, and the row of its run."""

    run: Row
    row: Row

    @property
    def measurement(self) -> Measurement | None:
        """The result, or None while it is unfinished."""
        document = self.row["document"]
        return None if document is None else Measurement.from_document(json.loads(document))


def chosen_runs(store: Store, selection: str, *, own_only: bool) -> list[str]:
    """Returns the ids of the selected runs (`all`, or what `find_run` takes), oldest first.

    `own_only`: `all` omits runs of other labs. Raises UserError for an unknown run.
    """
    if selection != ALL:
        return [find_run(store, selection)]
    statement = select(schema.run.c.id, schema.run.c.purpose).order_by(schema.run.c.id)
    with store.database.reading() as connection:
        known = connection.execute(statement).all()
    return [run_id for run_id, purpose in known if not own_only or purpose != IMPORTED]


def run_row(connection: Connection, run_id: str) -> Row:
    """Returns the row of an existing run."""
    return connection.execute(select(schema.run).where(schema.run.c.id == run_id)).mappings().one()


def measurements(connection: Connection, run: Row) -> list[StoredMeasurement]:
    """Returns the measurements of a run, including confirmations."""
    statement = (
        select(schema.measurement, schema.device.c.name, schema.device.c.kind, schema.device.c.emulated)
        .select_from(schema.measurement.join(schema.device))
        .where(schema.measurement.c.run_id == run["id"])
        .order_by(schema.measurement.c.id)
    )
    return [StoredMeasurement(run, row) for row in connection.execute(statement).mappings().all()]


def sessions(connection: Connection, measurement_id: int) -> Iterator[StoredSession]:
    """Yields the sessions of a measurement by ordinal and attempt, reading them one by one."""
    table, sample = schema.session, schema.sample
    chosen = select(table).where(table.c.measurement_id == measurement_id).order_by(table.c.ordinal, table.c.attempt)
    for row in connection.execute(chosen).mappings().all():
        of_session = select(sample).where(sample.c.session_id == row["id"]).order_by(sample.c.id)
        yield StoredSession(row, *load_samples(connection.execute(of_session).mappings().all()))


def sample_count(connection: Connection, run_id: str) -> int:
    """Counts the steps and samples of a run without reading them."""
    statement = (
        select(func.coalesce(func.sum(schema.sample.c.rows), 0))
        .select_from(schema.sample.join(schema.session).join(schema.measurement))
        .where(schema.measurement.c.run_id == run_id)
    )
    return int(connection.execute(statement).scalar_one())
