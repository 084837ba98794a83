"""What a store does when the disk, another process or the power is against it."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from suite.errors import StoreError
from suite.sessions.validity import SessionResult
from suite.store import schema
from suite.store.dialect import StoredJson
from suite.store.store import Store
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import begin, session

WRITER = """
import sys
from pathlib import Path
from tests.support.suite.stored_run import begin, session
begun = begin(Path(sys.argv[1]), device=sys.argv[2])
print(begun.measurement_id, flush=True)
for ordinal in range(int(sys.argv[3])):
    begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal))
    print(ordinal, flush=True)
"""


def writer(path, device, count):
    """A process that adds sessions and prints the ordinal of each once it is committed."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), device, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )


def assert_sound(path):
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_committed(tmp_path):
    path = tmp_path / "store.sqlite"
    process = writer(path, "local", 100_000)
    measurement_id = int(process.stdout.readline())
    for _ in range(12):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    committed = 12 + len(process.stdout.read().split())
    assert process.wait() == -signal.SIGKILL
    store = Store.open(path)
    found = store.sessions_of(measurement_id)
    # One more may have been committed and not printed.
    assert [item.ordinal for item in found] in (list(range(committed)), list(range(committed + 1)))
    assert all(len(item.record.steps) == 7 for item in found)
    assert_sound(path)
    run_id = store.open_runs()[0]
    assert len(store.progress(run_id).done) == len(found)
    store.add_session(measurement_id, session(run_id, len(found)))
    assert len(store.sessions_of(measurement_id)) == len(found) + 1


def test_two_processes_write_at_once_and_both_are_kept(tmp_path):
    path = tmp_path / "store.sqlite"
    processes = [writer(path, device, 25) for device in ("one", "two")]
    outputs = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    store = Store.open(path)
    assert {int(output[0]) for output in outputs} == {1, 2}
    for measurement_id in (1, 2):
        assert [item.ordinal for item in store.sessions_of(measurement_id)] == list(range(25))
    assert len(store.open_runs()) == 2
    assert_sound(path)


def large_session(run_id, ordinal):
    """Samples that hardly compress: some hundred kilobytes."""
    noise = iter(range(10**9))
    lines = recorded.samples("p", lambda t: ((next(noise) * 2654435761) % 1000003) / 7, seconds=2000)
    made = session(run_id, ordinal)
    record = recorded.record(*lines, session=made.session_id, quantities={"p": "power_mw"})
    return SessionResult(made.session_id, ordinal, 0, record, made.validity)


@contextmanager
def small_disk(folder: Path, store: Store):
    """A disk that is nearly full under the store: a tmpfs of 1 MiB where one may be mounted, else a limit of pages."""
    if folder.is_mount():
        yield
        return
    limit = "PRAGMA max_page_count = 120"

    def limited(connection, _record, _proxy):
        connection.execute(limit)

    event.listen(store.database._engine, "checkout", limited)
    yield
    event.remove(store.database._engine, "checkout", limited)


@pytest.fixture
def disk(tmp_path):
    """A folder for the store, on a file system of its own if this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
            ).returncode
            == 0
        )
    )
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(disk):
    begun = begin(disk / "store.sqlite")
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    with small_disk(disk, begun.store), pytest.raises(StoreError, match=r"is full \(\d+ KiB free\).*--resume"):
        for ordinal in range(1, 20):
            begun.store.add_session(begun.measurement_id, large_session(begun.run_id, ordinal))
    kept = begun.store.sessions_of(begun.measurement_id)
    assert kept
    assert [item.ordinal for item in kept] == list(range(len(kept)))
    begun.store.close()
    again = Store.open(disk / "store.sqlite")
    assert again.sessions_of(begun.measurement_id) == kept
    again.close()
    assert_sound(disk / "store.sqlite")


def test_a_disk_that_refuses_to_write_is_one_sentence_and_keeps_what_was_there(tmp_path):
    begun = begin(tmp_path / "store.sqlite")
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 8192, before[1]))
        with pytest.raises(StoreError, match="the disk failed under the store"):
            begun.store.add_session(begun.measurement_id, large_session(begun.run_id, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 1))
    assert [item.ordinal for item in begun.store.sessions_of(begun.measurement_id)] == [0, 1]
    assert_sound(tmp_path / "store.sqlite")


def test_a_store_in_use_for_too_long_is_one_sentence(tmp_path):
    begun = begin(tmp_path / "store.sqlite")
    impatient = Store.open(tmp_path / "store.sqlite", busy_timeout_s=0.01)
    with begun.store.database.writing(), pytest.raises(StoreError, match="in use by another process"):
        impatient.begin_run({}, [], {})
    assert impatient.begin_run({}, [], {})


def test_a_store_that_may_only_be_read_refuses_to_write_in_one_sentence(tmp_path):
    begin(tmp_path / "store.sqlite").store.close()
    store = Store.open(tmp_path / "store.sqlite", read_only=True)
    assert len(store.open_runs()) == 1
    with pytest.raises(StoreError, match="is read-only"):
        store.begin_run({}, [], {})


def test_a_file_that_is_no_database_is_one_sentence_and_stays_as_it_is(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreError, match="damaged or no SQLite file"):
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
    with pytest.raises(StoreError, match="damaged or no SQLite file"):
        Store.open(path).sessions_of(begun.measurement_id)


def test_a_store_cut_short_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    begun.store.add_session(begun.measurement_id, large_session(begun.run_id, 0))
    begun.store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError, match="damaged or no SQLite file"):
        Store.open(path).sessions_of(begun.measurement_id)


def test_a_sample_that_was_damaged_is_one_sentence(tmp_path):
    begun = begin(tmp_path / "store.sqlite")
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    with begun.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sample SET data = x'00112233'")
    with pytest.raises(StoreError, match="a stored sample cannot be read"):
        begun.store.sessions_of(begun.measurement_id)


def test_a_process_that_comes_second_in_making_the_store_makes_nothing(tmp_path):
    first = Store.open(tmp_path / "store.sqlite")
    first.database._create()
    assert Store.open(tmp_path / "store.sqlite").open_runs() == []


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "store.sqlite").touch()
    assert Store.open(tmp_path / "store.sqlite").open_runs() == []


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
        ("UPDATE schema_version SET version = 0", "which no suite ever wrote: restore a copy"),
        ("DELETE FROM schema_version", "lost its schema version"),
        ("INSERT INTO schema_version VALUES (99)", r"has 2 schema versions \(7, 99\) instead of one: restore a copy"),
        ("DROP TABLE sample", r"has lost 1 of its tables \(sample\), and what the others hold is there: put it aside"),
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
    with pytest.raises(StoreError, match="is empty: restore a copy"):
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
    named = r"damaged: session.events of \S+ is not JSON any more, and all other rows can be read: put"
    with pytest.raises(StoreError, match=named):
        store.sessions_of(begun.measurement_id)
    assert store.open_runs() == [begun.run_id]
    store.close()


def test_every_column_that_is_parsed_is_looked_at():
    """A column of JSON that is only text would end in a traceback."""
    tables = schema.metadata.tables.values()
    columns = {(one.table.name, one.name) for table in tables for one in table.columns if is_json(one)}
    assert {("run", "plan"), ("measurement", "document"), ("sample", "layout"), ("training", "plan")} <= columns
    assert len(columns) == 25


def is_json(column):
    return isinstance(column.type, StoredJson)


@pytest.mark.parametrize("statement", ["ALTER TABLE session DROP COLUMN sentence", "DROP TABLE sample"])
def test_what_is_lost_while_a_store_is_open_is_one_sentence(tmp_path, statement):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    set_version(path, statement)
    with pytest.raises(StoreError, match=r"damaged \(no such (table|column): .*\), and the rest can be read: put"):
        begun.store.sessions_of(begun.measurement_id)


def test_text_that_is_not_utf8_is_one_sentence(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    set_version(path, "UPDATE run SET plan = CAST(x'7bff7d' AS TEXT)")
    with pytest.raises(StoreError, match="Could not decode to UTF-8"):
        begun.store.resume_run(begun.run_id)


def test_reading_a_store_that_is_not_there_makes_none(tmp_path):
    with pytest.raises(StoreError, match="there is no store at"):
        Store.open(tmp_path / "store.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["missing/store.sqlite", "."])
def test_a_path_that_cannot_be_opened_is_one_sentence(tmp_path, where):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path / where)


@pytest.mark.parametrize("name", ["a b.sqlite", "what?mode=memory.sqlite", "100%25.sqlite", "#1.sqlite", "\N{SNOWMAN}"])
def test_any_file_name_serves(tmp_path, name):
    begin(tmp_path / name).store.close()
    assert (tmp_path / name).is_file()
    assert len(Store.open(tmp_path / name, read_only=True).open_runs()) == 1


def sessions_in(path):
    store = Store.open(path)
    (count,) = sqlite3.connect(path).execute("SELECT count(*) FROM session").fetchone()
    store.close()
    return count


@pytest.mark.parametrize("log_too", [True, False])
def test_a_store_that_is_removed_while_it_is_open_is_written_again_with_all_it_held(tmp_path, log_too):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    for file in tmp_path.glob("store.sqlite*") if log_too else [path]:
        file.unlink()
    with pytest.raises(StoreError, match=r"was removed while it was in use; all that it held was written to it again"):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, 1))
    assert len(begun.store.sessions_of(begun.measurement_id)) == 2
    begun.store.close()
    assert_sound(path)
    assert sessions_in(path) == 2


def test_a_store_that_is_replaced_while_it_is_open_is_kept_beside_the_other(tmp_path):
    path = tmp_path / "store.sqlite"
    other = begin(tmp_path / "other.sqlite")
    other.store.close()
    begun = begin(path)
    (tmp_path / "other.sqlite").replace(path)
    for ordinal in range(2):
        with pytest.raises(
            StoreError, match=r"was replaced while it was in use; all that it held is in .*/store-kept-"
        ):
            begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal))
    begun.store.close()
    (kept,) = tmp_path.glob("store-kept-*.sqlite")
    assert (sessions_in(kept), sessions_in(path)) == (2, 0)


def test_a_store_whose_folder_is_removed_is_kept_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "home").mkdir()
    begun = begin(tmp_path / "home" / "store.sqlite")
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(StoreError, match=r"was removed while it was in use; all that it held is in .*elsewhere"):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    (kept,) = (tmp_path / "elsewhere").glob("*/store.sqlite")
    assert sessions_in(kept) == 1


def test_threads_of_a_removed_store_save_it_once_and_lose_nothing(tmp_path):
    path = tmp_path / "store.sqlite"
    begun = begin(path)
    path.unlink()

    def add(ordinal):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal))

    with ThreadPoolExecutor(8) as pool:
        errors = [one.exception() for one in [pool.submit(add, ordinal) for ordinal in range(8)]]
    assert [str(error) for error in errors if error] == [next(str(error) for error in errors if error)]
    begun.store.close()
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".sqlite"] == ["store.sqlite"]
    assert sessions_in(path) == 8
