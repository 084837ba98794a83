"""`suite store rebuild` after a run whose store was lost."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench
from tests.support.suite.store_contents import contents, remove_store


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    return make_board(bench, monkeypatch)


def test_a_run_whose_store_is_lost_comes_back_with_all_it_measured(board: Board, bench: Bench) -> None:
    assert bench(*RUN, "--quant", "fp32,nf4", "--sessions", "2", "--tag", "first").code == 0
    exported = bench("data", "export", "latest", "--format", "json", "--to", "before").out.strip()
    store = bench.home / "store.sqlite"
    before = contents(store)
    remove_store(store)
    ran = bench("store", "rebuild")
    assert ran.code == 0, ran.err
    assert "the store was rebuilt from its journal: 1 runs, 2 measurements, 4 sessions, 0 trainings" in ran.out
    assert contents(store) == before
    again = bench("data", "export", "first", "--format", "json", "--to", "after").out.strip()
    document = json.loads((bench.folder / exported).read_text())
    assert json.loads((bench.folder / again).read_text()) == document
    assert len(document["measurements"]) == 2
    refused = bench("store", "rebuild")
    assert refused.code == 2
    assert re.search(r"is intact, with 1 runs?, and was not changed", refused.sentence)


def test_a_home_without_a_journal_is_one_sentence(bench: Bench) -> None:
    ran = bench("store", "rebuild")
    assert ran.code == 2
    assert "There is no journal in" in ran.sentence
