"""Findings as rows: one for each night that a finding was seen or looked for in, and those that a selection is about.

A finding has boards and settings, not one measurement, so its rows are read by runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, select

from reports.model.findings import Estimate, Finding
from suite.results import tables
from suite.results.findings import findings_of_nights
from suite.results.tables import Cell, Chunk, Selection, cells, split_rows
from suite.store import schema

_NIGHTS_AT_ONCE = 100
_BETWEEN, _BETWEEN_SENTENCES = ", ", "; "


def finding_chunks(connection: Connection, run_ids: Collection[str] | None) -> Iterator[Chunk]:
    """Yields the findings of runs (None for all) by runs, those of a night in the order in which they are read."""
    run, finding = schema.run, schema.finding
    statement = select(run.c.id, run.c.started_at).where(run.c.id.in_(select(finding.c.run_id)))
    if run_ids is not None:
        statement = statement.where(run.c.id.in_(list(run_ids)))
    nights = [(row.id, row.started_at) for row in connection.execute(statement.order_by(run.c.id))]
    for begin in range(0, len(nights), _NIGHTS_AT_ONCE):
        some = nights[begin : begin + _NIGHTS_AT_ONCE]
        found = findings_of_nights(connection, [run_id for run_id, _ in some])
        rows = [(run_id, at, *_finding_cells(one)) for run_id, at in some for one in found.get(run_id, ())]
        yield split_rows(tables.FINDINGS, rows)


def _finding_cells(one: Finding) -> tuple[Cell, ...]:
    size = next((size for size in one.sizes if size.metric == one.metric), None)
    sure = one.confirmation
    return (
        *(one.id, one.category, one.state, one.seen, one.level, one.metric, one.side),
        _BETWEEN.join(one.settings),
        _BETWEEN_SENTENCES.join(one.workloads),  # which have commas of their own
        _BETWEEN.join(one.devices),
        *(len(one.devices), sum(part.of for part in one.where)),
        *_ratio_cells(None if size is None else size.least),
        *_ratio_cells(None if size is None else size.most),
        *(one.since_at, one.nights, sure.pairs or None, sure.p, sure.q),
        one.headline.replace("\u00a0", " "),
        _BETWEEN_SENTENCES.join(difference.words for difference in one.differences),
        _BETWEEN_SENTENCES.join(f"{note.kind} by {note.author}: {note.text}" for note in one.notes),
        one.muted,
    )


def _ratio_cells(found: Estimate | None) -> tuple[Cell, ...]:
    return (None, None, None) if found is None else (found.ratio, found.low, found.high)


def findings_about(chunk: Chunk, selection: Selection, run_ids: Collection[str] | None = None) -> Chunk:
    """Returns the rows of a chunk that a selection is about: of its devices, and its settings or all of them.

    `run_ids`: the runs that are meant; None for all of the chunk.
    """
    columns = (cells(chunk, name) for name in ("run_id", "at", "devices", "settings"))
    kept = [
        place
        for place, (run_id, at, devices, settings) in enumerate(zip(*columns, strict=True))
        if (run_ids is None or run_id in run_ids)
        and selection.has_begun(str(at))
        and _names_one(devices, selection.devices)
        and (not settings or _names_one(settings, selection.settings))
    ]
    found = {name: cells(chunk, name) for name in tables.FINDINGS.columns}
    return Chunk(len(kept), {name: [column[place] for place in kept] for name, column in found.items()})


def _names_one(joined: Cell, wanted: Collection[str]) -> bool:
    return not wanted or not set(wanted).isdisjoint(joined_names(joined))


def joined_names(cell: Cell) -> list[str]:
    """Returns the names that a cell of devices or settings has."""
    return str(cell).split(_BETWEEN) if cell else []
