"""A store of schema version 1, as the suite of that time left it, opened by the suite of today."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from suite.cli.main import run_command
from suite.errors import StoreError
from suite.home import Home, alone, in_use
from suite.store import database as upgrading
from suite.store import schema
from suite.store.acceptances import newest_point
from suite.store.history import Series, series_list
from suite.store.identity import rename_former_int8
from suite.store.nights import series_of_night
from suite.store.store import Store, VerdictRow
from tests.support.suite.stored_run import KEY, Begun, begin, finish

VERSION_1 = """
CREATE TABLE run (
    id TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, status TEXT NOT NULL, "plan" TEXT NOT NULL,
    command TEXT NOT NULL, environment TEXT NOT NULL,
    CONSTRAINT pk_run PRIMARY KEY (id),
    CONSTRAINT ck_run_status CHECK (status IN ('running', 'finished', 'partial', 'failed', 'interrupted'))
) STRICT;
CREATE TABLE measurement (
    id INTEGER NOT NULL, run_id TEXT NOT NULL, device_id INTEGER NOT NULL, artifact_hash TEXT,
    workload_key TEXT NOT NULL, workload TEXT NOT NULL, planned_sessions INTEGER NOT NULL,
    reference_losses TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, status TEXT, reason TEXT,
    document TEXT,
    CONSTRAINT pk_measurement PRIMARY KEY (id),
    CONSTRAINT uq_measurement_run_id_device_id_workload_key UNIQUE (run_id, device_id, workload_key),
    CONSTRAINT fk_measurement_run_id FOREIGN KEY(run_id) REFERENCES run (id),
    CONSTRAINT fk_measurement_device_id FOREIGN KEY(device_id) REFERENCES device (id),
    CONSTRAINT fk_measurement_artifact_hash FOREIGN KEY(artifact_hash) REFERENCES artifact (hash)
) STRICT;
CREATE INDEX ix_measurement_run_id ON measurement (run_id);
CREATE INDEX ix_measurement_device_id ON measurement (device_id);
CREATE INDEX ix_measurement_artifact_hash ON measurement (artifact_hash);
"""


def downgrade(path: Path) -> None:
    """Gives the tables that version 2 changed the definitions of version 1."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("DROP TABLE acceptance")
    connection.execute("DROP TABLE tag")
    for table in ("run", "measurement"):
        indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        for (name,) in connection.execute(indexes, [table]).fetchall():
            connection.execute(f"DROP INDEX {name}")
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_2")
    connection.executescript(VERSION_1)
    for table in ("run", "measurement"):
        columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_2")
        connection.execute(f"DROP TABLE {table}_2")
    connection.execute("UPDATE schema_version SET version = 1")
    connection.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    begin_and_finish(path)
    downgrade(path)
    return path


def begin_and_finish(path: Path, quant: str = "int8") -> None:
    begun = begin(path, quant=quant)
    finish(begun, 100.0, 101.0, 102.0)
    begun.store.close()


def definitions(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    finally:
        connection.close()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def counts(path: Path) -> list[tuple[object, ...]]:
    tables = ("run", "measurement", "session", "sample", "point")
    return rows(path, "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))


def test_everything_is_still_there_and_new_columns_have_their_values(old: Path) -> None:
    before = counts(old)
    Store.open(old).close()
    assert counts(old) == before
    assert rows(old, "SELECT purpose FROM run") == [("run",)]
    assert rows(old, "SELECT role, runner_hash FROM measurement") == [("measured", None)]
    assert rows(old, "SELECT version FROM schema_version") == [(schema.SCHEMA_VERSION,)]


def test_an_upgraded_store_is_like_a_new_one(old: Path, tmp_path: Path) -> None:
    Store.open(old).close()
    Store.open(tmp_path / "new.sqlite").close()
    assert definitions(old) == definitions(tmp_path / "new.sqlite")
    assert rows(old, "PRAGMA foreign_key_check") == []
    assert rows(old, "PRAGMA integrity_check") == [("ok",)]


def test_an_upgraded_store_goes_on(old: Path) -> None:
    begun = begin(old, quant="int8-dynamic")
    finish(begun, 103.0)
    assert [series.points for series in series_list(begun.store) if series.metric == "latency_ms"] == [2]


NEW_KEY = KEY.replace("int8", "int8-dynamic")


def set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE schema_version SET version = ?", [version])
    connection.close()


def test_series_of_the_former_int8_go_on_as_int8_dynamic(tmp_path: Path) -> None:
    """Key and fingerprint are those of the next measurement, so that it becomes the next point of the same series."""
    path = tmp_path / "store.sqlite"
    begin_and_finish(path)
    other = begin(path, quant="fp32")
    finish(other, 100.0)
    other.store.close()
    set_version(path, 4)
    before = counts(path)
    assert rows(path, f"SELECT count(*) FROM series WHERE workload_key = '{KEY}'") != [(0,)]
    begun = begin(path, quant="int8-dynamic")
    assert counts(path)[0][2:] == before[0][2:]
    for table, column in (("measurement", "workload"), ("artifact", "workload"), ("measurement", "document")):
        assert rows(path, f"SELECT count(*) FROM {table} WHERE {column} LIKE '%\"int8\"%'") == [(0,)]
    finish(begun, 103.0)
    found = {item.workload_key: item.points for item in series_list(begun.store) if item.metric == "latency_ms"}
    assert found == {NEW_KEY: 2, KEY.replace("int8", "fp32"): 1}
    begun.store.close()
    assert rows(path, "PRAGMA foreign_key_check") == []


def test_a_new_measurement_of_int8_begins_a_series_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    begin_and_finish(path)
    set_version(path, 4)
    begun = begin(path)
    finish(begun, 103.0)
    found = {item.workload_key: item.points for item in series_list(begun.store) if item.metric == "latency_ms"}
    assert found == {NEW_KEY: 1, KEY: 1}


def test_an_interrupted_run_of_the_former_int8_goes_on_with_it() -> None:
    plan = {"plans": [{"model": "tiny", "quants": ["fp32", "int8"], "noise": "int8"}], "budget_minutes": None}
    renamed = {
        "plans": [{"model": "tiny", "quants": ["fp32", "int8-dynamic"], "noise": "int8"}],
        "budget_minutes": None,
    }
    assert rename_former_int8(plan) == renamed


def test_a_store_of_version_3_only_gets_the_table_of_tags(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    finish(begun, 100.0)
    begun.store.close()
    now = definitions(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TABLE tag")
        connection.execute("UPDATE schema_version SET version = 3")
    connection.close()
    before = counts(path)
    Store.open(path).close()
    assert (definitions(path), counts(path)) == (now, before)


@pytest.fixture
def reading(old: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old store with a run more, in the home of the command line."""
    begin_and_finish(old, "int8-dynamic")  # as the upgrade calls what is there
    downgrade(old)
    monkeypatch.setenv("SUITE_HOME", str(old.parent))
    monkeypatch.chdir(old.parent)
    return old


READING_COMMANDS = (
    "history",
    "history --runs",
    "compare {first} {second}",
    "report",
    "data export all",
    "trace {first}",
    "tag",
    "gc --dry-run",
)


@pytest.mark.parametrize("command", READING_COMMANDS)
def test_a_command_that_only_reads_works_on_an_old_store(
    reading: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,), (second,) = rows(reading, "SELECT id FROM run")
    assert (run_command(command.format(first=first, second=second).split()), capsys.readouterr().err) == (0, "")
    assert rows(reading, "SELECT version FROM schema_version") == [(schema.SCHEMA_VERSION,)]


def test_reading_a_store_of_today_writes_nothing(old: Path) -> None:
    Store.open(old).close()
    content = old.read_bytes()
    Store.open(old, read_only=True).close()
    assert old.read_bytes() == content


@pytest.fixture
def freeze(old: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Mounts the folder of the store read-only; where mounting is not allowed, the system says that it was."""
    folder = str(old.parent)
    mounted: list[str] = []

    def mount() -> None:
        if os.geteuid() == 0:
            done = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=False)
            mounted.extend([folder] * (done.returncode == 0))
        if not mounted:
            monkeypatch.setattr(os, "access", lambda *_: False)

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def test_an_old_store_that_cannot_be_written_is_refused_in_one_sentence(old: Path, freeze: Callable[[], None]) -> None:
    content = old.read_bytes()
    freeze()
    for reads in (True, False):
        with pytest.raises(
            StoreError, match=r"schema version 1, this suite needs \d+ .* read-only: make them writable"
        ):
            Store.open(old, read_only=reads)
    assert old.read_bytes() == content


def test_a_store_of_today_is_read_from_a_medium_that_cannot_be_written(old: Path, freeze: Callable[[], None]) -> None:
    Store.open(old).close()
    freeze()
    store = Store.open(old, read_only=True)
    assert series_list(store)
    store.close()


def test_a_run_that_goes_on_keeps_its_store_as_it_is(old: Path) -> None:
    content = old.read_bytes()
    with in_use(Home(old.parent)), pytest.raises(StoreError, match="a run of the earlier suite is still writing to it"):
        Store.open(old, read_only=True)
    assert old.read_bytes() == content
    Store.open(old, read_only=True).close()


def test_a_run_that_goes_on_keeps_nobody_from_reading_a_store_of_today(old: Path) -> None:
    Store.open(old).close()
    with in_use(Home(old.parent)):
        Store.open(old, read_only=True).close()


def opened_at_once(path: Path, gate: object) -> int:
    """How many series another process sees that opens the store when `gate` lets all of them go."""
    gate.wait()  # type: ignore[attr-defined]
    store = Store.open(path, read_only=True)
    try:
        return len(series_list(store))
    finally:
        store.close()


def test_commands_at_once_upgrade_an_old_store_once(old: Path) -> None:
    before = counts(old)
    fresh = multiprocessing.get_context("spawn")
    with fresh.Manager() as manager, ProcessPoolExecutor(4, mp_context=fresh) as processes:
        gate = manager.Barrier(4)
        found = [processes.submit(opened_at_once, old, gate) for _ in range(4)]
        seen = {future.result() for future in found}
    assert len(seen) == 1
    assert seen != {0}
    assert (counts(old), rows(old, "PRAGMA integrity_check")) == (before, [("ok",)])


def test_a_command_waits_for_the_upgrade_by_another_one(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as other:
        other.enter_context(alone(Home(old.parent)))

        @contextlib.contextmanager
        def while_the_other_ends(home: Home) -> Iterator[None]:
            upgrading._carry_out(old, busy_timeout_s=1)
            other.close()
            with in_use(home):
                yield

        monkeypatch.setattr(upgrading, "in_use", while_the_other_ends)
        Store.open(old, read_only=True).close()
    assert rows(old, "SELECT version FROM schema_version") == [(schema.SCHEMA_VERSION,)]


def test_an_upgrade_that_is_broken_off_leaves_the_old_store(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("suite.store.database._refill", fail)
    before = definitions(old)
    with pytest.raises(KeyboardInterrupt):
        Store.open(old)
    assert definitions(old) == before
    monkeypatch.undo()
    Store.open(old).close()
    assert rows(old, "SELECT version FROM schema_version") == [(schema.SCHEMA_VERSION,)]


def downgrade_to_5(path: Path) -> None:
    """Takes away what version 6 added; all fingerprints of a series become one, as threads were no part of them."""
    connection = sqlite3.connect(path, isolation_level=None)
    for key, text in connection.execute("SELECT id, document FROM measurement").fetchall():
        document = json.loads(text)
        del document["setup"], document["latency_ms"]["ci95_method"]
        document["latency_ms"]["ci95"] = [1.0, 2.0]
        connection.execute("UPDATE measurement SET document = ? WHERE id = ?", [json.dumps(document), key])
    connection.execute("DROP TRIGGER verdict_no_update")
    one = "(SELECT min(s.id) FROM series s JOIN series o USING (device_name, workload_key, metric) WHERE o.id = {})"
    for table in ("point", "verdict", "acceptance"):
        connection.execute(f"UPDATE {table} SET series_id = {one.format('series_id')}")
    connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series_id FROM point)")
    connection.execute("UPDATE series SET fingerprint = 'of version 5'")
    connection.execute(
        "CREATE TRIGGER verdict_no_update BEFORE UPDATE ON verdict "
        "BEGIN SELECT RAISE(ABORT, 'verdict rows are append-only'); END"
    )
    for column in ("design", "valid_sessions"):
        connection.execute(f"ALTER TABLE measurement DROP COLUMN {column}")
    connection.execute("UPDATE schema_version SET version = 5")
    connection.close()


def night_of(path: Path, threads: int, ms: float) -> Begun:
    begun = begin(path, purpose="nightly")
    finish(begun, ms, ms + 1, ms + 2, threads=threads)
    return begun


def test_points_of_other_threads_leave_the_series_that_they_were_stored_in(tmp_path: Path) -> None:
    """Two nights with one thread among those with two were one series in version 5, with what was said of it."""
    path = tmp_path / "store.sqlite"
    nights = [night_of(path, threads, 100.0 * 2 / threads) for threads in (2, 1, 1, 2)]
    store = nights[0].store
    first = {night.run_id: newest_point(store, latency_of(store), night.run_id) for night in nights}
    point = first[nights[1].run_id]
    store.add_verdicts([VerdictRow(point.series_id, point.measurement_id, "regressed", "night 1", {}, {})])
    store.accept(point.series_id, point.measurement_id, "lena", "one thread")
    for night in nights:
        night.store.close()
    downgrade_to_5(path)
    store = Store.open(path)
    by_night = [
        next(item for item in series_of_night(store, night.run_id) if item.metric == "latency_ms") for night in nights
    ]
    marks = [item.tonight.fingerprint for item in by_night]
    assert marks[0] == marks[3] != marks[1] == marks[2]
    said = [(item.tonight.verdict, item.tonight.accepted) for item in by_night[:2]]
    assert said == [(None, False), ("regressed", True)]
    assert [point.value for point in by_night[3].before] == [101.0, 201.0, 201.0]
    goes_on = night_of(path, 2, 100.0)
    newest = newest_point(store, latency_of(store), goes_on.run_id)
    assert newest.series_id == by_night[3].tonight.series_id
    with pytest.raises(StoreError, match="append-only"), store.database.writing() as connection:
        connection.execute(schema.verdict.update().values(verdict="improved"))
    store.close()
    goes_on.store.close()
    assert rows(path, "PRAGMA foreign_key_check") == []


def test_old_measurements_get_their_setup_their_design_and_intervals_of_today(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    begun = night_of(path, 2, 100.0)
    begun.store.close()
    before = rows(path, "SELECT document, design, valid_sessions FROM measurement")
    downgrade_to_5(path)
    Store.open(path).close()
    ((text, design, valid),) = rows(path, "SELECT document, design, valid_sessions FROM measurement")
    assert [(design, valid)] == [row[1:] for row in before]
    found, made = json.loads(str(text)), json.loads(str(before[0][0]))
    assert found["latency_ms"] == made["latency_ms"]
    assert (found["setup"]["threads"], found["setup"]["cpus"]) == (2, [0, 1])
    assert "unavailable" in found["setup"]["power_mode"]


def test_a_measurement_whose_sessions_say_nothing_of_threads_keeps_its_series(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    nights = [night_of(path, 2, 100.0) for _ in range(2)]
    for night in nights:
        night.store.close()
    downgrade_to_5(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute('UPDATE session SET events = \'{"header":null,"load":null,"footer":null}\'')
    connection.close()
    Store.open(path).close()
    assert rows(path, "SELECT count(DISTINCT fingerprint) FROM series") == [(1,)]
    assert "setup" not in json.loads(str(rows(path, "SELECT document FROM measurement")[0][0]))


def latency_of(store: Store) -> Series:
    return next(item for item in series_list(store) if item.metric == "latency_ms")
