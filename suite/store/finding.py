"""Finds the run, series or program that a user typed. Every error offers what exists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from sqlalchemy import select

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from suite.store import schema
from suite.store.series import Series, series_names
from suite.store.store import Store
from suite.store.tags import current_tags

LATEST, PREVIOUS = "latest", "previous"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LIKE_A_RUN = re.compile(r"\d{4}-\d{2}")
_LIKE_A_HASH = re.compile(r"[0-9a-f]{6,64}")
_MOST_LISTED = 6
_NONE = "there is no"
_IMPORTED, _NIGHT = "imported", "nightly"
# Device, model, method, setting: a name with more parts is meant as a whole name.
_WHOLE_NAME = 5


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run, of which only `workload_key` counts if a program was named.

    `named` is how it was named, if not by its id: `tag v1.2`, `latest`, `night of 2026-11-20`.
    """

    run_id: str
    workload_key: str | None = None
    named: str = ""

    def __str__(self) -> str:
        return f"{self.run_id} ({self.named})" if self.named else self.run_id


@dataclass(frozen=True)
class _Run:
    run_id: str
    day: str
    purpose: str
    has_measurements: bool


def find_run(store: Store, text: str, zone: tzinfo | None = None) -> str:
    """Returns the id of the run with this id (or its start), tag or date, or of `latest` or `previous`.

    A date, in `zone` or the host's time zone, means its newest night, or its newest run if it has no night. Another
    lab's runs are found only by id and tag, and runs interrupted before their first measurement only by their full id.
    Raises UserError if there is no such run, or more than one.
    """
    return _named_run(store, text, zone).run_id


def _named_run(store: Store, text: str, zone: tzinfo | None = None) -> Side:
    known = _runs(store, zone)
    if text in {run.run_id for run in known}:
        return Side(text)
    runs = [run for run in known if run.has_measurements]
    ids = [run.run_id for run in runs]
    own = [run for run in runs if run.purpose != _IMPORTED]
    if text in (LATEST, PREVIOUS):
        return Side(_count_back([run.run_id for run in own], text), named=text)
    if _DATE.fullmatch(text):
        run = _of_day(own, text)
        return Side(run.run_id, named=f"{'night' if run.purpose == _NIGHT else 'newest run'} of {text}")
    tags = _tags(store)
    if text in tags:
        return Side(tags[text], named=f"tag {text}")
    found = [run_id for run_id in ids if text and run_id.startswith(text)]
    if not found:
        raise unknown_name("run or tag", printable(text, 80), [*tags, *ids], beginning=_NONE)
    return Side(_only(found, text, "runs"))


def find_series(store: Store, text: str) -> Series:
    """Finds a series by its name, or by some of its parts in order: `local/int8/latency_ms`, `int8/latency`.

    Parts match exactly or, if that finds no series, by their start. Raises UserError if none or several match.
    """
    known = {item.name: item for item in series_names(store)}
    return known[_only(_matching(text, list(known)), text, "series")]


def choose_series(names: Sequence[str], words: Iterable[str]) -> list[str]:
    """Returns the series that all words match.

    A word is a part of a name, or several in order. Parts match exactly or, if that finds no series, by text within
    them. Raises UserError for a word that matches none of the series left by the words before it.
    """
    found = list(names)
    for word in words:
        found = _matching(word, found, str.__contains__)
    return found


def _matching(text: str, known: Sequence[str], otherwise: Callable[[str, str], bool] = str.startswith) -> list[str]:
    """Returns the series with a text's parts, which match exactly or, if that finds none, by `otherwise`."""
    if text in known:
        return [text]
    wanted = [part for part in text.split("/") if part]
    for matches in (str.__eq__, otherwise):
        found = [name for name in known if wanted and _within(wanted, name.split("/"), matches)]
        if found:
            return found
    raise _unknown_series(text, wanted, known)


def find_series_or_run(store: Store, text: str) -> Series | str:
    """Finds a run (returning its id) for a tag or a text that looks like a run, or else a series.

    Raises UserError for a tag that is also part of series' names, as it could mean either.
    """
    tagged = _tags(store).get(text)
    if tagged is not None and any(text in item.name.split("/") for item in series_names(store)):
        raise UserError(
            f"'{text}' is a tag and a part of series' names: name the run by its id, {tagged}, or more of the series"
        )
    if tagged is not None or text in (LATEST, PREVIOUS) or _LIKE_A_RUN.match(text):
        return find_run(store, text)
    return find_series(store, text)


def find_side(store: Store, text: str) -> Side:
    """Finds a run as `find_run` does, or the newest that measured the program with this hash (or start of one)."""
    if _LIKE_A_HASH.fullmatch(text) and (side := _newest_with_program(store, text)) is not None:
        return side
    return _named_run(store, text)


def _tags(store: Store) -> dict[str, str]:
    with store.database.reading() as connection:
        return {name: tag.run_id for name, tag in current_tags(connection).items()}


def _runs(store: Store, zone: tzinfo | None) -> list[_Run]:
    """Returns every run, newest first."""
    table = schema.run
    has_measurements = table.c.id.in_(select(schema.measurement.c.run_id).distinct())
    statement = select(
        table.c.id, table.c.started_at, table.c.purpose, has_measurements.label("has_measurements")
    ).order_by(table.c.started_at.desc(), table.c.id.desc())
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    return [
        _Run(
            row.id,
            f"{datetime.fromisoformat(row.started_at).astimezone(zone):%Y-%m-%d}",
            row.purpose,
            bool(row.has_measurements),
        )
        for row in rows
    ]


def _count_back(ids: Sequence[str], text: str) -> str:
    index = (LATEST, PREVIOUS).index(text)
    if len(ids) <= index:
        raise UserError(f"there is no {text} run, {len(ids)} are stored: measure with `suite run` first")
    return ids[index]


def _of_day(runs: Sequence[_Run], day: str) -> _Run:
    found = [run for run in runs if run.day == day]
    if not found:
        raise unknown_name("run on", day, (run.day for run in runs), beginning=_NONE)
    return next((run for run in found if run.purpose == _NIGHT), found[0])


def _newest_with_program(store: Store, text: str) -> Side | None:
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
    return Side(rows[0].run_id, rows[0].workload_key, f"program {rows[0].artifact_hash[:12]}")


def _only(found: Sequence[str], text: str, noun: str) -> str:
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found[:_MOST_LISTED]) + (", …" if len(found) > _MOST_LISTED else "")
    raise UserError(f"'{printable(text, 80)}' matches {len(found)} {noun}, give more of it: {listed}")


def _unknown_series(text: str, wanted: Sequence[str], known: Iterable[str]) -> UserError:
    """Returns an error that offers the name with unknown parts corrected, or else the nearest names."""
    pieces = {piece for name in known for piece in name.split("/")}
    nearest = [
        part
        if any(piece.startswith(part) for piece in pieces)
        else next(iter(difflib.get_close_matches(part, pieces, 1)), part)
        for part in wanted
    ]
    if len(wanted) < _WHOLE_NAME and nearest != list(wanted):
        return UserError(f"there is no series '{printable(text, 200)}': did you mean {'/'.join(nearest)}?")
    return unknown_name("series", printable(text, 200), known, beginning=_NONE)


def _within(wanted: Sequence[str], parts: Iterable[str], matches: Callable[[str, str], bool]) -> bool:
    """Returns whether every wanted part is found among `parts`, in this order."""
    rest = iter(parts)
    return all(any(matches(part, piece) for part in rest) for piece in wanted)
