"""What people said of a run: its annotations, and the levels that were accepted from it on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from suite.store import schema

_MOST_NAMED = 3


def remarks_of_run(connection: Connection, run_id: str) -> list[dict[str, str]]:
    """As the document of a run has them (`reports.source.ReportSource.document`), annotations first."""
    said = schema.annotation
    notes = select(said.c.at, said.c.author, said.c.text).where(said.c.run_id == run_id).order_by(said.c.id)
    found = [
        {"kind": "annotation", "at": at, "author": author, "text": text, "about": ""}
        for at, author, text in connection.execute(notes)
    ]
    return found + _accepted(connection, run_id)


def newest_remarks(connection: Connection) -> Mapping[str, tuple[int, ...]]:
    """Run to what changes when something more is said of it."""
    said, accepted, measurement = schema.annotation, schema.acceptance, schema.measurement
    notes = select(said.c.run_id, func.max(said.c.id)).where(said.c.run_id.is_not(None)).group_by(said.c.run_id)
    levels = (
        select(measurement.c.run_id, func.max(accepted.c.id))
        .select_from(accepted.join(measurement))
        .group_by(measurement.c.run_id)
    )
    found: dict[str, list[int]] = {}
    for place, statement in enumerate((notes, levels)):
        for run_id, newest in connection.execute(statement):
            found.setdefault(run_id, [0, 0])[place] = newest
    return {run_id: tuple(ids) for run_id, ids in found.items()}


def _accepted(connection: Connection, run_id: str) -> list[dict[str, str]]:
    """One remark for all series that were accepted together: by the same person for the same reason."""
    accepted, measurement, series = schema.acceptance, schema.measurement, schema.series
    statement = (
        select(accepted, series.c.device_name, series.c.workload_key, series.c.metric)
        .select_from(accepted.join(measurement).join(series, series.c.id == accepted.c.series_id))
        .where(measurement.c.run_id == run_id)
        .order_by(accepted.c.id)
    )
    together: dict[tuple[str, str], list[str]] = {}
    at: dict[tuple[str, str], str] = {}
    for row in connection.execute(statement):
        said = (row.author, row.why)
        at.setdefault(said, row.at)
        together.setdefault(said, []).append(f"{row.device_name} {row.workload_key} {row.metric}")
    return [
        {"kind": "accepted", "at": at[said], "author": said[0], "text": said[1], "about": _named(names)}
        for said, names in together.items()
    ]


def _named(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - _MOST_NAMED
    return ", ".join(every[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
