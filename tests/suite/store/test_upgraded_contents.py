"""What each version's upgrade does to the contents of a store."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from suite.errors import StoreError
from suite.store import schema
from suite.store.identity import rename_former_int8
from suite.store.nights import series_of_night
from suite.store.series import Series, newest_point, series_list
from suite.store.store import Store, VerdictRow
from tests.support.suite.old_store import begin_and_finish, counts, definitions, rows
from tests.support.suite.stored_run import KEY, Begun, begin, finish

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
    verdicts = [(item.tonight.verdict, item.tonight.accepted) for item in by_night[:2]]
    assert verdicts == [(None, False), ("regressed", True)]
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
