"""What a person typed, as the run, series or program it means. Every error offers what there is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from sqlalchemy import select

from suite.errors import UserError, unknown_name
from suite.events import printable
from suite.store import schema
from suite.store.history import SeriesSummary, series_list
from suite.store.store import Store

LATEST, PREVIOUS = "latest", "previous"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LIKE_A_RUN = re.compile(r"\d{4}-\d{2}")
_LIKE_A_HASH = re.compile(r"[0-9a-f]{6,64}")
_MOST_LISTED = 6
_IMPORTED = "imported"
# Device, model, method, setting: a name with more parts is meant as a whole.
_WHOLE_NAME = 5


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run, of which only `workload_key` counts when an artifact was named."""

    run_id: str
    workload_key: str | None = None


@dataclass(frozen=True)
class _Run:
    run_id: str
    day: str
    purpose: str


def find_run(store: Store, text: str, zone: tzinfo | None = None) -> str:
    """The id of a run: its id or the begin of it, `latest`, `previous` (the one before), or a date.

    A date, in `zone` or the host's, means its newest night, and its newest run when it has no night. Another lab's runs
    are found by id alone. UserError when there is none, or more than one.
    """
    runs = _runs(store, zone)
    ids = [run.run_id for run in runs]
    if text in ids:
        return text
    own = [run for run in runs if run.purpose != _IMPORTED]
    if text in (LATEST, PREVIOUS):
        return _counted_back([run.run_id for run in own], text)
    if _DATE.fullmatch(text):
        return _of_day(own, text)
    found = [run_id for run_id in ids if text and run_id.startswith(text)]
    if not found:
        raise unknown_name("run", printable(text, 80), ids)
    return _only(found, text, "runs")


def find_series(store: Store, text: str) -> SeriesSummary:
    """A series by its name, or by some of the parts of it in their order: `local/int8/latency_ms`, `int8/latency`.

    Parts are taken as they are; only where that names no series, as the beginnings of parts. UserError when none or
    several are meant.
    """
    known = {item.name: item for item in series_list(store)}
    if text in known:
        return known[text]
    wanted = [part for part in text.split("/") if part]
    for matches in (str.__eq__, str.startswith):
        found = [name for name in known if wanted and _within(wanted, name.split("/"), matches)]
        if found:
            return known[_only(found, text, "series")]
    raise _unknown_series(text, wanted, known)


def find_series_or_run(store: Store, text: str) -> SeriesSummary | str:
    """What `find_run` finds for a text that looks like a run (then its id), else what `find_series` finds."""
    if text in (LATEST, PREVIOUS) or _LIKE_A_RUN.match(text):
        return find_run(store, text)
    return find_series(store, text)


def find_side(store: Store, text: str) -> Side:
    """What `find_run` finds, or the newest run that measured the program with this hash (or begin of one)."""
    if _LIKE_A_HASH.fullmatch(text) and (side := _measured_last(store, text)) is not None:
        return side
    return Side(find_run(store, text))


def _runs(store: Store, zone: tzinfo | None) -> list[_Run]:
    """Every run that measured something, newest first."""
    table = schema.run
    measured = select(schema.measurement.c.run_id).distinct()
    statement = (
        select(table.c.id, table.c.started_at, table.c.purpose)
        .where(table.c.id.in_(measured))
        .order_by(table.c.started_at.desc(), table.c.id.desc())
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return [
        _Run(row.id, f"{datetime.fromisoformat(row.started_at).astimezone(zone):%Y-%m-%d}", row.purpose) for row in rows
    ]


def _counted_back(ids: Sequence[str], text: str) -> str:
    index = (LATEST, PREVIOUS).index(text)
    if len(ids) <= index:
        raise UserError(f"there is no {text} run, {len(ids)} are stored: measure with `suite run` first")
    return ids[index]


def _of_day(runs: Sequence[_Run], day: str) -> str:
    found = [run for run in runs if run.day == day]
    if not found:
        raise unknown_name("run on", day, (run.day for run in runs))
    return next((run for run in found if run.purpose == "nightly"), found[0]).run_id


def _measured_last(store: Store, text: str) -> Side | None:
    table = schema.measurement
    statement = (
        select(table.c.artifact_hash, table.c.run_id, table.c.workload_key)
        .where(table.c.artifact_hash.startswith(text, autoescape=True), table.c.role == "measured")
        .order_by(table.c.started_at.desc(), table.c.id.desc())
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    if not rows:
        return None
    _only(list(dict.fromkeys(row.artifact_hash for row in rows)), text, "programs")
    return Side(rows[0].run_id, rows[0].workload_key)


def _only(found: Sequence[str], text: str, noun: str) -> str:
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found[:_MOST_LISTED]) + (", …" if len(found) > _MOST_LISTED else "")
    raise UserError(f"'{printable(text, 80)}' names {len(found)} {noun}, name more of it: {listed}")


def _unknown_series(text: str, wanted: Sequence[str], known: Iterable[str]) -> UserError:
    """Offers the same name with the parts corrected that no series has, else the nearest names."""
    pieces = {piece for name in known for piece in name.split("/")}
    nearest = [
        part
        if any(piece.startswith(part) for piece in pieces)
        else next(iter(difflib.get_close_matches(part, pieces, 1)), part)
        for part in wanted
    ]
    if len(wanted) < _WHOLE_NAME and nearest != list(wanted):
        return UserError(f"there is no series '{printable(text, 200)}': did you mean {'/'.join(nearest)}?")
    return unknown_name("series", printable(text, 200), known)


def _within(wanted: Sequence[str], parts: Iterable[str], matches: Callable[[str, str], bool]) -> bool:
    """Whether every wanted part is found among `parts`, in this order."""
    rest = iter(parts)
    return all(any(matches(part, piece) for part in rest) for piece in wanted)
