"""What a person types finds the run, series or program it means, or says what there is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from foundation.errors import UserError
from suite.store import schema
from suite.store.finding import find_run, find_series, find_series_or_run, find_side
from suite.store.series import accept_points, newest_point, regressed_points
from suite.store.store import Store, VerdictRow
from tests.support.suite.stored_run import KEY, begin, finish

RUNS = {
    "2026-11-20T02-30-00-aaaa": ("2026-11-20T02:30:00+00:00", "nightly"),
    "2026-11-20T14-00-00-bbbb": ("2026-11-20T14:00:00+00:00", "run"),
    "2026-11-21T09-00-00-cccc": ("2026-11-21T09:00:00+00:00", "run"),
}
FIRST, SECOND, THIRD = RUNS


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three runs of int8 on `local`."""
    path = tmp_path_factory.mktemp("runs") / "store.sqlite"
    for run_id, (at, purpose) in RUNS.items():
        made = begin(path)
        finish(made, 100.0, 101.0)
        with made.store.database.writing() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            changed = schema.run.update().where(schema.run.c.id == made.run_id)
            connection.execute(changed.values(id=run_id, started_at=at, purpose=purpose))
            for table in (schema.measurement, schema.device_state):
                moved = table.update().where(table.c.run_id == made.run_id)
                connection.execute(moved.values(run_id=run_id))
            started = schema.measurement.update().where(schema.measurement.c.run_id == run_id)
            connection.execute(started.values(started_at=at))
        made.store.close()
    return path


@pytest.fixture
def store(three_runs: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of it."""
    opened = Store.open(Path(shutil.copy(three_runs, tmp_path / "store.sqlite")))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FIRST, FIRST),
        ("latest", THIRD),
        ("previous", SECOND),
        ("2026-11-21", THIRD),
        ("2026-11-20", FIRST),  # the night, though a run came after it
        ("2026-11-20T14", SECOND),
    ],
)
def test_a_run_is_found_by_id_begin_word_and_date(store: Store, text: str, found: str) -> None:
    assert find_run(store, text, UTC) == found


def test_another_labs_run_is_found_by_its_id_alone(store: Store) -> None:
    with store.database.writing() as connection:
        connection.execute(schema.run.update().where(schema.run.c.id == THIRD).values(purpose="imported"))
    assert find_run(store, "latest") == SECOND
    assert find_run(store, THIRD) == THIRD
    with pytest.raises(UserError, match="no run on '2026-11-21'"):
        find_run(store, "2026-11-21", UTC)


def test_a_run_that_is_not_there_or_not_the_only_one_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match=f"did you mean {THIRD}"):
        find_run(store, THIRD + "x")
    with pytest.raises(UserError, match=f"matches 2 runs, give more of it: {SECOND}, {FIRST}"):
        find_run(store, "2026-11-20T")
    with pytest.raises(UserError, match="no run on '2026-11-19': did you mean"):
        find_run(store, "2026-11-19", UTC)
    with pytest.raises(UserError, match="no run or tag ''"):
        find_run(store, "")


@pytest.mark.parametrize("text", [f"local/{KEY}/latency_ms", "latency_ms", "int8/latency", "local/tiny/q4/lat", "/lat"])
def test_a_series_is_found_by_parts_of_its_name_in_their_order(store: Store, text: str) -> None:
    assert find_series(store, text).name == f"local/{KEY}/latency_ms"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int8", "matches 5 series, give more of it"),
        ("latency/int8", "there is no series 'latency/int8'"),
        (f"local/{KEY}/latency_mx", f"did you mean local/{KEY}/latency_ms"),
        ("int8/latncy", r"there is no series 'int8/latncy': did you mean int8/latency_ms\?"),
        ("", "there is no series"),
        ("/", "there is no series"),
    ],
)
def test_a_series_that_is_not_there_or_not_the_only_one_is_refused(store: Store, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_series(store, text)


def test_a_whole_part_comes_before_the_begin_of_one(tmp_path: Path) -> None:
    for device in ("pi", "pi-4"):
        made = begin(tmp_path / "store.sqlite", device=device)
        finish(made, 100.0, device=device)
    assert find_series(made.store, "pi/latency_ms").device == "pi"
    made.store.close()


def test_a_text_like_a_date_is_a_run_and_others_are_series(store: Store) -> None:
    assert find_series_or_run(store, THIRD) == THIRD
    assert find_series_or_run(store, "latest") == THIRD
    assert not isinstance(find_series_or_run(store, "latency_ms"), str)


def test_a_program_is_found_in_the_run_that_measured_it_last(store: Store) -> None:
    side = find_side(store, "abc123")
    assert (side.run_id, side.workload_key) == (THIRD, KEY)
    assert find_side(store, "latest").workload_key is None
    with pytest.raises(UserError, match="there is no run or tag 'abc999'"):
        find_side(store, "abc999")


def test_regressed_points_are_those_whose_last_verdict_says_so(store: Store) -> None:
    latency, load = (newest_point(store, find_series(store, name)) for name in ("latency_ms", "load_ms"))
    for point, words in ((latency, ["regressed"]), (load, ["regressed", "unchanged"])):
        for word in words:
            store.add_verdicts([VerdictRow(point.series_id, point.measurement_id, word, "nightly 1", {}, {})])
    assert regressed_points(store, THIRD) == [latency]
    assert regressed_points(store, FIRST) == []


def test_all_points_are_accepted_or_none(store: Store) -> None:
    latency, load = (newest_point(store, find_series(store, name)) for name in ("latency_ms", "load_ms"))
    accept_points(store, [load], "ada", "new disk")
    with pytest.raises(UserError, match=r"load_ms was already accepted from run .* on, by ada"):
        accept_points(store, [latency, load], "bob", "again")
    with store.database.reading() as connection:
        assert connection.execute(schema.acceptance.select()).all()[0].author == "ada"
        assert len(connection.execute(schema.acceptance.select()).all()) == 1


def test_a_point_of_an_earlier_run_can_be_named(store: Store) -> None:
    series = find_series(store, "latency_ms")
    assert newest_point(store, series).run_id == THIRD
    assert newest_point(store, series, FIRST).run_id == FIRST
    with pytest.raises(UserError, match="has no point of"):
        newest_point(store, series, "2020-01-01T00-00-00-0000")


def test_a_date_is_a_day_of_the_place_that_is_meant(store):
    east, west = timezone(timedelta(hours=12)), timezone(-timedelta(hours=5))
    assert find_run(store, "2026-11-21", east) == THIRD
    assert find_run(store, "2026-11-21", UTC) == THIRD
    assert find_run(store, "2026-11-19", west) == FIRST
    with pytest.raises(UserError, match="no run on"):
        find_run(store, "2026-11-19", UTC)
