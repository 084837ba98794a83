"""What is said of a file that is no store, or of a store that lost part of what it held."""

import os
import sqlite3

import pytest

from suite.errors import StoreError
from suite.store import schema
from suite.store.run_contents import run_row
from suite.store.schema import StoredJson
from suite.store.store import Store
from tests.support.suite.stored_run import begin, large_session, session


def test_a_file_that_is_no_database_is_one_sentence_and_stays_as_it_is(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreError, match="damaged or not an SQLite file"):
        Store.open(path)
    assert path.read_bytes() == b"this is a letter to my aunt\n" * 100


def test_a_damaged_store_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    begun.store.add_session(begun.measurement_id, large_session(begun.run_id, 0))
    begun.store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = bytes(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged or not an SQLite file"):
        Store.open(path).sessions_of(begun.measurement_id)


@pytest.mark.parametrize("byte", [18, 19, 21, 44, 47, 56, 59, 100])
def test_a_damaged_head_is_one_sentence(tmp_path, byte):
    path = tmp_path / "store.sqlite"
    begin(path).store.close()
    data = bytearray(path.read_bytes())
    data[byte] = 0x77
    path.write_bytes(data)
    try:
        Store.open(path, read_only=True).close()
    except StoreError as error:
        assert "damaged" in str(error) or "read-only" in str(error)


def test_a_schema_that_is_not_utf8_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begin(path).store.close()
    data = path.read_bytes()
    assert b"CREATE TABLE schema_version" in data
    path.write_bytes(data.replace(b"CREATE TABLE schema_version", b"CREAT\xac TABLE schema_version"))
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path, read_only=True)


def test_a_store_cut_short_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    begun.store.add_session(begun.measurement_id, large_session(begun.run_id, 0))
    begun.store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError, match="damaged or not an SQLite file"):
        Store.open(path).sessions_of(begun.measurement_id)


def test_a_sample_that_was_damaged_is_one_sentence(tmp_path):
    begun = begin(tmp_path / "store.sqlite")
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    with begun.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sample SET data = x'00112233'")
    with pytest.raises(StoreError, match="a stored sample cannot be read"):
        begun.store.sessions_of(begun.measurement_id)


def test_a_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"database of another program \(1 tables\)"):
        Store.open(path)


def set_version(path, statement):
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE schema_version SET version = version + 1", "update the suite"),
        ("UPDATE schema_version SET version = 0", "which no suite ever wrote: run `suite store rebuild`"),
        ("DELETE FROM schema_version", "lost its schema version"),
        ("INSERT INTO schema_version VALUES (99)", r"has 2 schema versions \(9, 99\) instead of one: run `suite"),
        ("DROP TABLE sample", r"has lost 1 of its tables \(sample\), but the others still have their rows: run `suite"),
        ("DROP TABLE schema_version", r"has lost 1 of its tables \(schema_version\)"),
    ],
)
def test_a_store_of_another_version_is_one_sentence(tmp_path, statement, sentence):
    path = tmp_path / "store.sqlite"
    Store.open(path).close()
    set_version(path, statement)
    with pytest.raises(StoreError, match=sentence):
        Store.open(path)


def test_an_empty_file_holds_nothing_to_read(tmp_path):
    (tmp_path / "store.sqlite").touch()
    with pytest.raises(StoreError, match="is empty: run `suite store rebuild`"):
        Store.open(tmp_path / "store.sqlite", read_only=True)
    assert (tmp_path / "store.sqlite").stat().st_size == 0


@pytest.mark.parametrize("text", ["", "{", '{"a": ', "7", '"text"', "null", "[" * 5000, "{]"])
def test_rows_whose_json_is_damaged_are_named_and_the_others_are_read(tmp_path, text):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE session SET events = ?", (text,))
    connection.commit()
    connection.close()
    store = Store.open(path)
    named = r"damaged: session.events of \S+ is no longer JSON, but all other rows can be read: run"
    with pytest.raises(StoreError, match=named):
        store.sessions_of(begun.measurement_id)
    assert store.open_runs() == [begun.run_id]
    store.close()


def test_every_column_that_is_parsed_is_looked_at():
    """A column of JSON that is only text would end in a traceback."""
    tables = schema.metadata.tables.values()
    columns = {(one.table.name, one.name) for table in tables for one in table.columns if is_json(one)}
    assert {("run", "plan"), ("measurement", "document"), ("sample", "layout"), ("training", "plan")} <= columns
    assert {("kernel_choice", "cpus"), ("kernel_choice", "chosen"), ("kernel_choice", "times")} <= columns
    assert len(columns) == 29


def is_json(column):
    return isinstance(column.type, StoredJson)


@pytest.mark.parametrize("statement", ["ALTER TABLE session DROP COLUMN sentence", "DROP TABLE sample"])
def test_what_is_lost_while_a_store_is_open_is_one_sentence(tmp_path, statement):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    set_version(path, statement)
    with pytest.raises(StoreError, match=r"damaged \(no such (table|column): .*\), but the rest can be read: run"):
        begun.store.sessions_of(begun.measurement_id)


def test_text_that_is_not_utf8_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    set_version(path, "UPDATE run SET plan = CAST(x'7bff7d' AS TEXT)")
    with pytest.raises(StoreError, match="Could not decode to UTF-8"):
        begun.store.resume_run(begun.run_id)


def test_a_row_that_another_one_names_and_is_gone_is_one_sentence(tmp_path):
    """As where a damaged index knows rows that its table has lost."""
    store = begin(tmp_path / "store.sqlite").store
    with (
        pytest.raises(StoreError, match="a row that it refers to is missing or not unique"),
        store.database.reading() as reading,
    ):
        run_row(reading, "2026-01-01T00-00-00-gone")
