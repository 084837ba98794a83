"""Names that people give to runs: which are taken, what they mean over time, and how they are found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from foundation.errors import UserError
from suite.errors import StoreError
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.finding import find_run, find_series_or_run, find_side
from suite.store.store import Store
from suite.store.tags import Tag, require_free, tag_list, tag_run, take_away
from tests.support.suite.stored_run import begin, finish


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs in store.sqlite, the older first."""
    made = []
    for value in (100.0, 101.0):
        begun = begin(tmp_path / "store.sqlite")
        finish(begun, value)
        begun.store.close()
        made.append(begun.run_id)
    return made


@pytest.fixture
def store(runs: list[str], tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["v1.2", "before-upgrade", "1.2.3", "Q3_2026+rc.1", "x" * 64, "decade-1"])
def test_usual_names_are_tags(store: Store, runs: list[str], name: str) -> None:
    assert tag_run(store, name, runs[0], "ada")
    assert find_run(store, name) == runs[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "can't be a tag: use at most 64 letters"),
        ("two words", "can't be a tag: use at most 64 letters"),
        ("-v1", "can't be a tag: use at most 64 letters"),
        ("local/int8", "can't be a tag: use at most 64 letters"),
        ("v1\n", "can't be a tag: use at most 64 letters"),
        ("naïve", "can't be a tag: use at most 64 letters"),
        ("a" * 65, "at most 64"),
        ("latest", "looks like"),
        ("previous", "looks like"),
        ("all", "looks like"),
        ("2026-11-20", "looks like"),
        ("2026-11-20T02-30-00-abcd", "looks like"),
        ("2026", "looks like"),
        ("decade", "looks like"),  # six hexadecimal digits: the begin of a hash
    ],
)
def test_a_name_that_means_something_else_is_refused(store: Store, runs: list[str], name: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        tag_run(store, name, runs[0], "ada")
    with pytest.raises(UserError, match=why):
        require_free(store, name)
    assert tag_list(store) == []


def test_a_tag_stays_until_it_is_moved(store: Store, runs: list[str]) -> None:
    first, second = runs
    assert tag_run(store, "base", first, "ada")
    assert not tag_run(store, "base", first, "bob")  # it says so already
    with pytest.raises(UserError, match=f"tag base is run {first}, by ada at .* `suite tag base RUN --move`"):
        tag_run(store, "base", second, "bob")
    with pytest.raises(UserError, match=f"tag base is run {first}"):
        require_free(store, "base")
    assert tag_run(store, "base", second, "bob", move=True)
    assert find_run(store, "base") == second
    assert [(tag.name, tag.run_id, tag.author) for tag in tag_list(store)] == [("base", second, "bob")]


def test_a_freed_name_is_free_and_nothing_of_it_is_lost(store: Store, runs: list[str]) -> None:
    tag_run(store, "base", runs[0], "ada")
    freed = take_away(store, "base", "bob")
    assert isinstance(freed, Tag)
    assert freed.run_id == runs[0]
    assert tag_list(store) == []
    with pytest.raises(UserError, match="no run or tag 'base'"):
        find_run(store, "base")
    require_free(store, "base")
    with store.database.reading() as connection:
        rows = connection.execute(schema.tag.select().order_by(schema.tag.c.id)).all()
    assert [(row.name, row.run_id, row.author) for row in rows] == [("base", runs[0], "ada"), ("base", None, "bob")]


def test_the_database_itself_keeps_what_was_tagged(store: Store, runs: list[str]) -> None:
    tag_run(store, "base", runs[0], "ada")
    for statement in (schema.tag.update().values(name="other"), schema.tag.delete()):
        with pytest.raises((StoreError, IntegrityError), match="append-only"), store.database.writing() as connection:
            connection.execute(statement)


def test_a_tag_that_is_not_there_offers_the_nearest(store: Store, runs: list[str]) -> None:
    tag_run(store, "before-upgrade", runs[0], "ada")
    with pytest.raises(UserError, match="there is no run or tag 'befor-upgrade': did you mean before-upgrade"):
        find_side(store, "befor-upgrade")
    with pytest.raises(UserError, match="there is no tag 'before-upgrad': did you mean before-upgrade"):
        take_away(store, "before-upgrad", "ada")


def test_a_side_says_how_it_was_named(store: Store, runs: list[str]) -> None:
    tag_run(store, "base", runs[0], "ada")
    assert str(find_side(store, "base")) == f"{runs[0]} (tag base)"
    assert str(find_side(store, runs[0])) == runs[0]
    assert find_side(store, "abc123").named == "program abc123"
    assert find_side(store, "latest").named == "latest"


def test_a_tag_names_a_run_where_series_can_be_named_too_unless_it_is_a_part_of_one(
    store: Store, runs: list[str]
) -> None:
    tag_run(store, "base", runs[0], "ada")
    assert find_series_or_run(store, "base") == runs[0]
    tag_run(store, "local", runs[0], "ada")
    with pytest.raises(UserError, match=f"a tag and a part of series' names: name the run by its id, {runs[0]}"):
        find_series_or_run(store, "local")
    assert find_run(store, "local") == runs[0]


def test_reports_get_the_tags_of_a_run_and_see_that_they_changed(store: Store, runs: list[str]) -> None:
    stamps = {run.run_id: run.stamp for run in StoreSource(store).runs()}
    tag_run(store, "base", runs[0], "ada")
    tag_run(store, "v1", runs[0], "ada")
    summaries = {run.run_id: run for run in StoreSource(store).runs()}
    assert (summaries[runs[0]].tags, summaries[runs[1]].tags) == (["base", "v1"], [])
    assert summaries[runs[0]].stamp != stamps[runs[0]]
    assert summaries[runs[1]].stamp == stamps[runs[1]]
    assert StoreSource(store).document(runs[0])["tags"] == ["base", "v1"]
