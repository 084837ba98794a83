"""A store that is damaged or gone is made anew from its journal, and nothing else is ever replaced."""

import errno
import os
import resource
import shutil
import sqlite3
from contextlib import contextmanager

import pytest

from foundation.errors import UserError
from suite.errors import StoreError
from suite.home import Home, in_use
from suite.nightly.findings import record_findings
from suite.recovery.rebuild import rebuild
from suite.results.findings import add_note
from suite.store.nights import series_of_night
from suite.store.store import Store, VerdictRow
from suite.store.tags import tag_run, take_away
from suite.store.trainings import Trainings
from tests.support.suite.store_contents import contents, remove_store
from tests.support.suite.stored_run import WORKLOAD, assert_sound, begin, finish, session


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def fill(path):
    """A night with verdict, finding and acceptance, remarks, a tag given and taken away, a choice of kernels, a
    training, an open run."""
    night = begin(path, purpose="nightly")
    finish(night, 1.0, 2.0, 3.0)
    store = night.store
    (series,) = [one for one in series_of_night(store, night.run_id) if one.metric == "latency_ms"]
    verdict = VerdictRow(series.tonight.series_id, night.measurement_id, "regressed", "rule", {"n": 3}, {"ratio": 1.25})
    store.add_verdicts([verdict])
    store.accept(series.tonight.series_id, night.measurement_id, "me", "new kernel")
    store.annotate("me", "a \x00 remark", run_id=night.run_id)
    record_findings(store)
    add_note(store, "note", "me", "seen", finding="F-000000")
    tag_run(store, "best", night.run_id, "me")
    take_away(store, "best", "me")
    store.keep_kernel_choice("f1", "r1", None, {"nf4": "avx2"}, [{"weights": "nf4", "kernels": "avx2", "ns": [1]}])
    trainings = Trainings(store.database)
    trainings.begin_group("2026-01-01T00-00-00-aaaa", [{"steps": 3}], ["suite", "train"], {})
    trainings.begin("t1", "2026-01-01T00-00-00-aaaa", night.device_id, WORKLOAD, 7, {})
    trainings.finish("t1", "failed", "no luck")
    store.close()
    open_run = begin(path, quant="nf4")
    open_run.store.add_session(open_run.measurement_id, session(open_run.run_id, 0))
    open_run.store.close()
    return night, open_run


def test_a_store_that_is_gone_comes_back_row_for_row(home):
    fill(home.store_path)
    before = contents(home.store_path)
    remove_store(home.store_path)
    found = rebuild(home)
    assert contents(home.store_path) == before
    assert_sound(home.store_path)
    assert (found.counts["run"], found.counts["session"], found.aside, found.unusable) == (2, 4, None, 0)
    assert not any(found.lost.values())
    assert all(rows for name, rows in before.items() if not name.startswith("training_"))


def test_a_damaged_store_is_kept_under_another_name(home):
    fill(home.store_path)
    before = contents(home.store_path)
    data = bytearray(home.store_path.read_bytes())
    data[8192:] = bytes(len(data) - 8192)
    home.store_path.write_bytes(data)
    found = rebuild(home)
    assert contents(home.store_path) == before
    assert found.aside.read_bytes() == data
    names = {path.name.removesuffix("-wal").removesuffix("-shm") for path in home.root.iterdir()}
    assert names == {"journal", "locks", "store.sqlite", found.aside.name}


@pytest.mark.parametrize(
    "statement", ["UPDATE session SET events = '{'", "DROP TABLE sample", "DELETE FROM schema_version"]
)
def test_a_store_that_lost_rows_is_rebuilt(home, statement):
    fill(home.store_path)
    before = contents(home.store_path)
    connection = sqlite3.connect(home.store_path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    rebuild(home)
    assert contents(home.store_path) == before


def test_what_is_rebuilt_goes_on_and_can_be_rebuilt_again(home):
    _, open_run = fill(home.store_path)
    remove_store(home.store_path)
    rebuild(home)
    store = Store.open(home.store_path)
    store.resume_run(open_run.run_id)
    store.add_session(open_run.measurement_id, session(open_run.run_id, 1))
    store.finish_run(open_run.run_id, "finished")
    store.close()
    before = contents(home.store_path)
    remove_store(home.store_path)
    assert rebuild(home).counts["session"] == 5
    assert contents(home.store_path) == before


def test_a_store_that_is_whole_is_left_as_it_is(home):
    fill(home.store_path)
    before = home.store_path.read_bytes()
    with pytest.raises(UserError, match="is intact, with 2 runs, and was not changed"):
        rebuild(home)
    assert home.store_path.read_bytes() == before


def test_runs_of_a_store_that_was_begun_after_the_loss_join_the_others(home):
    fill(home.store_path)
    remove_store(home.store_path)
    later = begin(home.store_path, purpose="nightly", quant="fp32")
    finish(later, 4.0, 5.0, 6.0)
    later.store.close()
    with pytest.raises(UserError, match="has 2 runs that it lacks: move it aside"):
        rebuild(home)
    home.store_path.rename(home.root / "mine.sqlite")
    remove_store(home.store_path)
    found = rebuild(home)
    assert (found.counts["run"], found.counts["measurement"], found.counts["session"]) == (3, 3, 7)
    store = Store.open(home.store_path)
    (result, *_) = [one for one in series_of_night(store, later.run_id) if one.metric == "latency_ms"]
    store.close()
    assert result.tonight.value == pytest.approx(5.0)
    assert len(contents(home.store_path)["device"]) == 1
    assert_sound(home.store_path)


def test_a_restored_copy_goes_on_from_where_it_was(home, tmp_path_factory):
    _, open_run = fill(home.store_path)
    copy = tmp_path_factory.mktemp("copy") / "store.sqlite"
    shutil.copy(home.store_path, copy)
    other = begin(home.store_path, quant="fp16")
    other.store.add_session(other.measurement_id, session(other.run_id, 0))
    other.store.close()
    remove_store(home.store_path)
    shutil.copy(copy, home.store_path)
    store = Store.open(home.store_path)
    store.add_session(open_run.measurement_id, session(open_run.run_id, 1))
    store.close()
    remove_store(home.store_path)
    found = rebuild(home)
    assert (found.counts["run"], found.counts["session"], found.unusable) == (3, 6, 0)
    store = Store.open(home.store_path)
    assert {place[3] for place in store.progress(open_run.run_id).done} == {0, 1}
    assert {place[3] for place in store.progress(other.run_id).done} == {0}
    store.close()


def test_what_is_older_than_the_journal_is_counted_by_name(home):
    night, open_run = fill(home.store_path)
    shutil.rmtree(home.root / "journal")
    later = begin(home.store_path, quant="fp16")
    finish(later, 1.0, 2.0)
    later.store.accept(1, night.measurement_id, "me", "an acceptance of what is not in the journal")
    later.store.close()
    (home.run_folder("2020-01-01T00-00-00-aaaa") / "raw.jsonl").touch()
    remove_store(home.store_path)
    found = rebuild(home)
    assert found.counts == {"run": 1, "measurement": 1, "session": 2, "training": 0}
    assert found.lost["run"] == sorted(["2020-01-01T00-00-00-aaaa", night.run_id, open_run.run_id])
    assert {name: len(lost) for name, lost in found.lost.items() if name not in ("run", "tag")} == {
        "training": 1, "acceptance": 1, "annotation": 1, "finding_note": 1,
    }  # fmt: skip
    assert 1 <= len(found.lost["tag"]) <= 2  # given and taken away, which may be in one millisecond
    assert found.unusable == 1
    assert_sound(home.store_path)


def test_a_transaction_that_was_not_committed_is_not_rebuilt(home):
    begun = begin(home.store_path)
    with pytest.raises(RuntimeError), begun.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE run SET status = 'failed'")
        raise RuntimeError
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    before = contents(home.store_path)
    remove_store(home.store_path)
    rebuild(home)
    assert contents(home.store_path) == before


def test_a_transaction_whose_commit_failed_is_replaced_by_the_next(home):
    begun = begin(home.store_path)
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    written = journal.read_bytes()
    connection = sqlite3.connect(home.store_path)
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    # As if the last commit had failed after its journal was written.
    connection.execute("DELETE FROM sample")
    connection.execute("DELETE FROM session")
    connection.execute(f"PRAGMA user_version = {number - 1}")
    connection.commit()
    connection.close()
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 1))
    begun.store.close()
    assert journal.read_bytes().startswith(written)
    before = contents(home.store_path)
    remove_store(home.store_path)
    rebuild(home)
    assert contents(home.store_path) == before


@contextmanager
def room_for(bytes_left, file):
    """No file grows beyond the size that leaves so much room in this one, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + bytes_left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [1, 300])
def test_a_write_that_fails_half_way_leaves_nothing_in_the_journal(home, room):
    begun = begin(home.store_path)
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    with journal.open("ab") as stream:
        stream.write(b"\n" + b"x" * (4 << 20) + b"\n")  # larger than what SQLite writes beside the store
    written = journal.read_bytes()
    with room_for(room, journal), pytest.raises(StoreError, match=r"journal of the store .* can't be written"):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    assert journal.read_bytes() == written
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 1))
    begun.store.close()
    before = contents(home.store_path)
    remove_store(home.store_path)
    rebuild(home)
    assert contents(home.store_path) == before


@pytest.mark.parametrize("half", [b'\n{"begin": ', b'\n{"begin": 2}\n\n["session", [1', b'\n{"end": 1'])
def test_half_a_line_of_a_process_that_was_killed_costs_the_next_transaction_nothing(home, half):
    begun = begin(home.store_path)
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    with journal.open("ab") as stream:
        stream.write(half)
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    before = contents(home.store_path)
    remove_store(home.store_path)
    assert rebuild(home).unusable == 0
    assert contents(home.store_path) == before


def test_a_timeline_whose_head_can_not_be_written_leaves_no_folder(home, monkeypatch):
    begun = begin(home.store_path)
    shutil.rmtree(home.root / "journal")

    def fail(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left on device"):
        patch.setattr(os, "fsync", fail)
        begun.store.annotate("me", "a remark", run_id=begun.run_id)
    assert list((home.root / "journal").iterdir()) == []
    begun.store.annotate("me", "a remark", run_id=begun.run_id)
    begun.store.close()
    assert len(list((home.root / "journal").iterdir())) == 1


@pytest.mark.parametrize("kept", [1, 40, -1, -3, -9])
def test_a_journal_that_is_cut_off_gives_what_was_whole(home, kept):
    begun = begin(home.store_path)
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    before = contents(home.store_path)
    size = journal.stat().st_size
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    os.truncate(journal, (size if kept > 0 else journal.stat().st_size) + kept)
    remove_store(home.store_path)
    rebuild(home)
    assert contents(home.store_path) == before or kept == -1
    assert_sound(home.store_path)


def test_damaged_lines_are_counted_and_the_others_used(home):
    begun = begin(home.store_path)
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    begun.store.close()
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    text = journal.read_text().replace('["session", [', '["session", [[', 1).replace('["sample"', '["sqlite_master"', 1)
    odd = f'["point", null]\n["run", null, [{2**64}]]\n'
    text = text.replace('["device", [', f'{odd}["device", [', 1)
    journal.write_text(text)
    remove_store(home.store_path)
    found = rebuild(home)
    assert (found.counts["run"], found.counts["session"]) == (1, 0)
    assert found.unusable >= 4
    assert_sound(home.store_path)


@pytest.mark.parametrize("content", [b"", b"[1]\n", b"{\n", b'{"schema": "7"}\n', b"\xff\n", b"[" * 100_000])
def test_a_journal_without_a_head_is_none(home, content):
    folder = home.root / "journal" / "00000001"
    folder.mkdir(parents=True)
    (folder / "000001.jsonl").write_bytes(content)
    with pytest.raises(
        UserError, match=r"There is no journal in .* to rebuild the store from: .*the raw output of 0 runs"
    ):
        rebuild(home)


@pytest.mark.parametrize("damaged", ['{"schema": 9', '{"end": 0}', '{"begin": 3}', '{"end": 4}'])
def test_a_damaged_line_of_the_journal_costs_no_more_than_its_transaction(home, damaged):
    begun = begin(home.store_path)
    for ordinal in range(3):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal))
    begun.store.close()
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    assert journal.read_text().count(damaged) == 1
    journal.write_text(journal.read_text().replace(damaged, "#" * len(damaged)))
    remove_store(home.store_path)
    found = rebuild(home)
    assert found.counts["run"] == 1
    assert (found.counts["session"], found.unusable > 0) in ((3, False), (3, True), (0, True))
    assert_sound(home.store_path)


def test_a_journal_of_another_schema_is_one_sentence(home):
    begin(home.store_path).store.close()
    journal = next((home.root / "journal").glob("*/*.jsonl"))
    journal.write_text(journal.read_text().replace('{"schema": 9', '{"schema": 8', 1))
    remove_store(home.store_path)
    with pytest.raises(UserError, match="has schema version 8, but this suite knows 9"):
        rebuild(home)


def test_nothing_is_rebuilt_while_a_run_goes_on(home):
    begin(home.store_path).store.close()
    remove_store(home.store_path)
    with in_use(home), pytest.raises(UserError, match="A run is in progress"):
        rebuild(home)
    assert not home.store_path.exists()


def test_a_database_of_another_program_is_not_replaced(home):
    begin(home.store_path).store.close()
    remove_store(home.store_path)
    connection = sqlite3.connect(home.store_path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="database of another program"):
        rebuild(home)
