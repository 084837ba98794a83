"""A store of schema version 1, as the suite of that time left it, opened by the suite of today."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
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
from suite.store.series import series_list
from suite.store.store import Store
from tests.support.suite.old_store import begin_and_finish, counts, definitions, downgrade, opened_at_once, rows
from tests.support.suite.stored_run import begin, finish


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    begin_and_finish(path)
    downgrade(path)
    return path


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
            StoreError, match=r"schema version 1, but this suite needs \d+ .* read-only: make them writable"
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
    with in_use(Home(old.parent)), pytest.raises(StoreError, match="a run of an earlier suite is still writing to it"):
        Store.open(old, read_only=True)
    assert old.read_bytes() == content
    Store.open(old, read_only=True).close()


def test_a_run_that_goes_on_keeps_nobody_from_reading_a_store_of_today(old: Path) -> None:
    Store.open(old).close()
    with in_use(Home(old.parent)):
        Store.open(old, read_only=True).close()


@pytest.mark.slow
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
