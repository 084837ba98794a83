"""What becomes of a store whose file is removed or replaced while it is in use."""

import shutil
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from suite.errors import StoreError
from suite.store.store import Store
from tests.support.suite.stored_run import assert_sound, begin, session


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
    with pytest.raises(StoreError, match=r"was removed while it was in use; all its contents were written to it again"):
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
            StoreError, match=r"was replaced while it was in use; all its contents are in .*/store-kept-"
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
    with pytest.raises(StoreError, match=r"was removed while it was in use; all its contents are in .*elsewhere"):
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
