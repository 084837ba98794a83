"""Names for runs: given with `suite run --tag` or `suite tag`, accepted wherever a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench

QUICK = (*RUN, "--quick", "--quant", "fp32", "--json")


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    return make_board(bench, monkeypatch)


def test_runs_are_compared_by_their_tags(bench: Bench, board: Board) -> None:
    first = bench(*QUICK, "--tag", "v1").document["run_id"]
    board.script(fp32={"slower": 1.5})
    second = bench(*QUICK).document["run_id"]
    assert bench("tag", "v2").out == f"tag v2 is run {second}\n"
    ran = bench("compare", "v1", "v2")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == f"{first} (tag v1) -> {second} (tag v2)"
    document = bench("compare", "v1", "latest", "--json").document
    assert [document[key] for key in ("before", "before_named", "after_named")] == [first, "tag v1", "latest"]
    assert "did you mean v1" in bench("compare", "v11", "v2").sentence
    assert [row["tags"] for row in bench("history", "--runs", "--json").document] == [["v2"], ["v1"]]
    assert "tagged v1" in bench("history", "--runs").out
    assert bench("annotate", "v1", "before the upgrade").out == f"noted on run {first}\n"
    assert bench("trace", "v1").code == 0


def test_a_tag_that_is_taken_is_refused_before_anything_is_measured(bench: Bench, board: Board) -> None:
    first = bench(*QUICK, "--tag", "v1").document["run_id"]
    taken = bench(*QUICK, "--tag", "v1")
    assert taken.code == 2
    assert f"tag v1 is run {first}, by ada" in taken.sentence
    assert "can't be a tag" in bench(*QUICK, "--tag", "latest").sentence
    assert "can't be a tag" in bench(*QUICK, "--tag", "two words", "--dry-run").sentence
    assert "leave out --tag" in bench("run", "--resume", "--tag", "v2").sentence
    assert bench.runs() == [(first, "finished")]


def test_tags_are_listed_moved_and_freed(bench: Bench, board: Board) -> None:
    assert bench("tag").code == 2  # no store
    first, second = (bench(*QUICK).document["run_id"] for _ in range(2))
    assert "no run has a tag" in bench("tag").out
    assert bench("tag", "base", "previous").out == f"tag base is run {first}\n"
    assert bench("tag", "base", first).out == f"tag base is run {first} already\n"
    refused = bench("tag", "base", "latest")
    assert (refused.code, "--move" in refused.sentence) == (2, True)
    assert bench("tag", "base", "latest", "--move").code == 0
    (listed,) = bench("tag", "--json").document
    assert (listed["name"], listed["run_id"], listed["author"]) == ("base", second, "ada")
    assert bench("tag", "--delete", "base").out == f"deleted tag base, which was run {second}\n"
    assert bench("tag", "--json").document == []
    assert "there is no tag 'base'" in bench("tag", "--delete", "base").sentence
    assert "NAME is missing" in bench("tag", "--delete").sentence
    assert bench.rows("SELECT name, run_id FROM tag") == [("base", first), ("base", second), ("base", None)]


def test_a_plan_files_run_can_be_tagged(bench: Bench, board: Board) -> None:
    Path("small.yaml").write_text(
        "plans:\n  small: {devices: local, models: tiny, quants: [fp32], shapes: [{q: 2, b: 2, T: 32}]}\n"
    )
    run_id = bench("run", "--plan", "small.yaml", "--quick", "--tag", "small", "--json").document["run_id"]
    assert [tag["run_id"] for tag in bench("tag", "--json").document] == [run_id]
