"""Defines the tables of results, and the filters that choose their rows.

The same tables are exported (`suite data export`) and become data frames (`suite.results`): one row per measurement,
session, training step, sensor reading, verdict, or finding of a night. Names of columns end with the stored unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.text import printable
from reports.model.quantities import COLUMNS

Kind = Literal["text", "category", "time", "whole", "number", "truth", "count", "value", "numbers"]
"""Kinds of columns: text that differs in most rows, or is one of a few; an ISO 8601 time; numbers and booleans that may
be missing; whole numbers and numbers that every row has; several numbers in one cell."""

Cell = str | int | float | bool | tuple[float, ...] | None


@dataclass(frozen=True)
class Table:
    """A table's name and its columns with their kinds."""

    name: str
    columns: Mapping[str, Kind]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table: the cells that all share, and the columns in which they differ."""

    rows: int
    columns: Mapping[str, Sequence[Cell] | NDArray[Any]]
    same: Mapping[str, Cell] = field(default_factory=dict)


_NAMED: Mapping[str, Kind] = {
    "run_id": "category",
    "measurement_id": "count",
    **dict.fromkeys(("role", "device", "workload_key"), "category"),
}
_OF_SESSION: Mapping[str, Kind] = {**_NAMED, "session_id": "category"}
WORKLOAD: Mapping[str, Kind] = {
    **dict.fromkeys(("model", "method", "quant", "backend"), "category"),
    **dict.fromkeys(("q", "b", "T", "rank"), "whole"),
}

MEASUREMENTS = Table(
    "measurements",
    {
        **_NAMED,
        "started_at": "time",
        **dict.fromkeys(("purpose", "kind"), "category"),
        "emulated": "truth",
        **WORKLOAD,
        "planned_sessions": "count",
        "status": "category",
        "reason": "text",
        **{column.name: column.kind for column in COLUMNS},
        "unavailable": "text",
    },
)
SESSIONS = Table(
    "sessions",
    {
        **_NAMED,
        "session_id": "text",
        **dict.fromkeys(("ordinal", "attempt"), "count"),
        "status": "category",
        "reason": "text",
        "cause": "category",
        **dict.fromkeys(("median_ms", "load_ms"), "number"),
        **dict.fromkeys(("hwm_kib", "t_begin_ns"), "whole"),
        **dict.fromkeys(("idle_before_mw", "idle_after_mw"), "number"),
        "committed_at": "time",
    },
)
STEPS = Table(
    "steps",
    {
        **_OF_SESSION,
        "step": "count",
        "phase": "category",
        **dict.fromkeys(("t0_ns", "t1_ns"), "count"),
        **dict.fromkeys(("latency_ms", "mean_loss"), "value"),
        "losses": "numbers",
    },
)
SAMPLES = Table(
    "samples",
    {**_OF_SESSION, **dict.fromkeys(("sensor", "quantity"), "category"), "t_ns": "count", "value": "value"},
)
VERDICTS = Table(
    "verdicts",
    {
        **_NAMED,
        **dict.fromkeys(("metric", "direction"), "category"),
        "at": "time",
        "verdict": "category",
        "accepted": "truth",
        **dict.fromkeys(("cause", "rule"), "category"),
        "value": "number",
        **dict.fromkeys(("centre", "ratio", "ratio_low", "ratio_high", "p", "q"), "number"),
        **dict.fromkeys(("sentence", "command"), "text"),
    },
)
FINDINGS = Table(
    "findings",
    {
        "run_id": "category",
        "at": "time",
        **dict.fromkeys(("finding", "category", "state"), "category"),
        "seen": "truth",
        **dict.fromkeys(("level", "metric", "side"), "category"),
        **dict.fromkeys(("settings", "workloads", "devices"), "text"),
        **dict.fromkeys(("boards", "of"), "count"),
        **dict.fromkeys(("ratio_least", "ratio_least_low", "ratio_least_high"), "number"),
        **dict.fromkeys(("ratio_most", "ratio_most_low", "ratio_most_high"), "number"),
        "since": "time",
        "nights": "count",
        "pairs": "whole",
        **dict.fromkeys(("p", "q"), "number"),
        **dict.fromkeys(("headline", "differences", "notes", "muted"), "text"),
    },
)
TABLES = (MEASUREMENTS, SESSIONS, STEPS, SAMPLES, VERDICTS, FINDINGS)

Names = str | Sequence[str] | None
Moment = str | date | datetime | None


class Filters(TypedDict, total=False):
    """The filters that readers of tables take: names, and times at or after which, or before which, runs started.

    A date stands for its midnight. A time without an offset is on this machine's clock.
    """

    devices: Names
    models: Names
    settings: Names
    runs: Names
    since: Moment
    until: Moment
    sensors: Names


@dataclass(frozen=True)
class Selection:
    """Filters in a uniform form; an empty tuple, or None, selects all."""

    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    sensors: tuple[str, ...] = ()

    @classmethod
    def of(cls, filters: Filters) -> Selection:
        """Reads filters. Raises UserError for an empty list or an invalid time, TypeError for an unknown filter."""
        read: dict[str, Any] = {
            name: _moment(name, found) if name in ("since", "until") else _names(name, found)
            for name, found in dict[str, Any](filters).items()
            if found is not None
        }
        return cls(**read)

    def has_begun(self, started_at: str) -> bool:
        """Returns whether a run that started at that time is neither too old nor too new."""
        if self.since is None and self.until is None:
            return True
        at = datetime.fromisoformat(started_at)
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def _names(what: str, found: str | Sequence[str]) -> tuple[str, ...]:
    names = (found,) if isinstance(found, str) else tuple(str(name) for name in found)
    if not names:
        raise UserError(f"{what} is an empty list, which selects nothing: leave it out, or name some")
    return names


def _moment(what: str, found: str | date | datetime) -> datetime:
    """Returns a time with an offset."""
    try:
        at = datetime.fromisoformat(found if isinstance(found, str) else found.isoformat())
    except ValueError as error:
        raise UserError(
            f"{what} is '{printable(str(found), 40)}', not a date or time: write 2026-11-22, or 2026-11-22T14:30"
        ) from error
    return at.astimezone()  # without an offset it is on this machine's clock


class Source(Protocol):
    """A source of results: a store, or a folder of exported tables."""

    @property
    def name(self) -> str:
        """The source's path."""

    def chunks(self, table: Table, selection: Selection) -> Iterator[Chunk]:
        """Yields the chosen rows in the order of runs and measurements. Raises UserError for an unknown name."""

    def close(self) -> None:
        """Closes the source; may be called twice."""


def split_rows(table: Table, rows: Sequence[Sequence[Cell]]) -> Chunk:
    """Returns rows, each with a cell for every column, as a chunk."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in table.columns)
    return Chunk(len(rows), dict(zip(table.columns, columns, strict=True)))


def cells(chunk: Chunk, name: str) -> Sequence[Cell]:
    """Returns a column of a chunk as a list."""
    if name in chunk.same:
        return [chunk.same[name]] * chunk.rows
    column = chunk.columns[name]
    return column.tolist() if isinstance(column, np.ndarray) else column
