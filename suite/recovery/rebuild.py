"""Rebuilds a damaged or missing store from its journal and puts it in place (`suite store rebuild`)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from foundation.errors import UserError
from suite.errors import DamagedStore, StoreError
from suite.home import Home, alone
from suite.recovery.replay import Timeline, merge, replay, runs_of, timelines
from suite.store.dialect import WRITES, damaged_rows, open_engine
from suite.store.journal import FOLDER, NOTED, begin_timeline
from suite.store.schema import SCHEMA_VERSION, metadata
from suite.store.store import Store

_COUNTED = ("run", "measurement", "session", "training")
_LOGS = ("-wal", "-shm")


@dataclass(frozen=True)
class Rebuilt:
    """The result of rebuilding a store.

    It has the numbers of rows by table, what is lost from before the journal, where the damaged file is, and how many
    lines of the journal were unusable.
    """

    counts: Mapping[str, int]
    lost: Mapping[str, Sequence[str]]
    aside: Path | None
    unusable: int


def rebuild(home: Home) -> Rebuilt:
    """Replaces a damaged or missing store by one built from the journal.

    Raises UserError if the store is intact, there is no journal, or a run is in progress, and StoreError if the disk
    fails.
    """
    _require_damage(home.store_path)
    with alone(home) as free:
        if not free:
            raise UserError(f"A run is in progress in {home.root}: let it finish, then rebuild the store.")
        found = timelines(home.root)
        usable = [one for one in found if one.schema == SCHEMA_VERSION]
        if not usable:
            raise UserError(_nothing_kept(home, found))
        folder = Path(tempfile.mkdtemp(prefix=".rebuild-", dir=home.root))
        try:
            made, unusable = _make(usable, folder)
            rebuilt = _compare(made, home, found, unusable)
            return _put_in_place(made, home, rebuilt)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"the store can't be rebuilt in {home.root} ({error}), and what was there is unchanged: free some "
                "space there, then rebuild it again"
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_damage(path: Path) -> str | None:
    """Returns what is wrong with a store, or None if it is intact. Raises StoreError if it can't be checked."""
    if not path.exists():
        return f"there is no store at {path}"
    if path.is_file() and path.stat().st_size == 0:
        return f"the store {path} is empty"
    try:
        with closing(Store.open(path, read_only=True)) as store, store.database.reading() as connection:
            for check in ("quick_check", "foreign_key_check"):
                rows = connection.exec_driver_sql(f"PRAGMA {check}").all()
                if rows and tuple(rows[0]) != ("ok",):
                    return f"SQLite finds {len(rows)} faults in the store {path}"
            odd = damaged_rows(connection, metadata)
    except DamagedStore as error:
        return str(error)
    return f"the store {path} has rows that can't be read: {'; '.join(odd)}" if odd else None


def _require_damage(path: Path) -> None:
    if find_damage(path) is not None:
        return
    with closing(Store.open(path, read_only=True)) as store:
        known = _ids(store, "run")
    kept = {run_id for one in timelines(path.parent) for run_id in runs_of(one)}
    lacking = len(kept - known)
    besides = f"; {FOLDER}/ has {lacking} runs that it lacks: move it aside to have all of them" if lacking else ""
    raise UserError(f"The store {path} is intact, with {len(known)} runs, and was not changed{besides}.")


def _nothing_kept(home: Home, found: Sequence[Timeline]) -> str:
    if found:
        return (
            f"The journal in {home.root / FOLDER} has schema version {found[-1].schema}, but this suite knows "
            f"{SCHEMA_VERSION}: rebuild the store with the suite that wrote it, or restore a copy."
        )
    raw = len(_raw_runs(home))
    return (
        f"There is no journal in {home.root / FOLDER} to rebuild the store from: restore a copy of the store; the raw "
        f"output of {raw} runs is in runs/."
    )


def _make(usable: Sequence[Timeline], folder: Path) -> tuple[Path, int]:
    """Returns a store of all timelines, and how many of their lines were unusable."""
    made = folder / "store.sqlite"
    unusable = replay(usable[0], made)
    for index, one in enumerate(usable[1:]):
        later = folder / f"later-{index}" / "store.sqlite"
        later.parent.mkdir()
        unusable += replay(one, later)
        merge(later, made)
        shutil.rmtree(later.parent)
    return made, unusable


def _compare(made: Path, home: Home, found: Sequence[Timeline], unusable: int) -> Rebuilt:
    """Compares the rebuilt store with everything that the journal and the raw output name."""
    with closing(Store.open(made, read_only=True)) as store:
        counts = {name: len(_ids(store, name)) for name in _COUNTED}
        lost = {}
        for name, column in NOTED:
            named = {text for one in found for text in one.before.get(name, ())}
            named |= _raw_runs(home) if name == "run" else set()
            lost[name] = sorted(named - _ids(store, name, column))
    return Rebuilt(counts, lost, None, unusable)


def _put_in_place(made: Path, home: Home, rebuilt: Rebuilt) -> Rebuilt:
    """Gives the new store a journal and puts it in place. The damaged file is moved aside with its logs."""
    path, aside = home.store_path, None
    engine = open_engine(made, read_only=False, busy_timeout_s=0)
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        begin_timeline(connection, path, complete=True)
    engine.dispose()
    with made.open("rb") as stream:
        os.fsync(stream.fileno())
    for ending in ("", *_LOGS):
        old = path.with_name(path.name + ending)
        if old.exists():
            aside = aside or path.with_name(f"{path.stem}-damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
            old.rename(aside.with_name(aside.name + ending))
    made.rename(path)
    return replace(rebuilt, aside=aside)


def _ids(store: Store, table: str, column: str = "id") -> set[str]:
    with store.database.reading() as connection:
        return {str(found) for found in connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalars()}


def _raw_runs(home: Home) -> set[str]:
    return {folder.name for folder in (home.root / "runs").glob("*/")}
