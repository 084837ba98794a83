"""What a store does when the disk, another process or the power is against it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from suite.errors import StoreError
from suite.store.store import Store
from tests.support.suite.stored_run import assert_sound, begin, large_session, session

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


def test_a_new_store_can_be_opened_by_many_at_once(tmp_path):
    """Without another try, one in fifty finds it locked."""
    for number in range(40):
        together = threading.Barrier(6)

        def open_it(_, path=tmp_path / f"{number}.sqlite", together=together):
            together.wait()
            with closing(Store.open(path)) as store:
                return store.open_runs()

        with ThreadPoolExecutor(6) as openers:
            assert list(openers.map(open_it, range(6))) == [[]] * 6


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


def test_a_process_that_comes_second_in_making_the_store_makes_nothing(tmp_path):
    first = Store.open(tmp_path / "store.sqlite")
    first.database._create()
    assert Store.open(tmp_path / "store.sqlite").open_runs() == []


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "store.sqlite").touch()
    assert Store.open(tmp_path / "store.sqlite").open_runs() == []


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
