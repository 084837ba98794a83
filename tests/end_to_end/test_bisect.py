"""A bisection from the command line: kept programs are measured beside the good one until one is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.end_to_end.past_nights import add_nights, give_another_program
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import Bench

PLAN = """\
defaults: {devices: local, models: tiny, steps: 12}
plans:
  small: {quants: [nf4], shapes: [{q: 2, b: 2, T: 32}], sessions: 3}
"""
FIRST, LAST = "2026-01-01T00-00-00-aaaa", "2026-01-04T00-00-00-aaaa"


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    """Four nights with a program each, of which the last two are slow."""
    (bench.folder / "nightly.yaml").write_text(PLAN)
    board = make_board(bench, monkeypatch)
    ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    add_nights(bench, json.loads(ran.out)["run_id"], (0.0, 0.5, 20.0, 20.5))
    for letter, night in zip("abcd", range(1, 5), strict=True):
        give_another_program(bench, "nf4", letter, f"2026-01-{night:02d}")
    board.script()
    script = board.root / "script.json"
    scripts = json.loads(script.read_text())
    for name in scripts:
        if set(name) <= set("cd"):
            scripts[name]["slower"] = 1.2
    script.write_text(json.dumps(scripts))
    return board


def test_the_program_that_a_series_changed_with_is_found(board: Board, bench: Bench) -> None:
    ran = bench("bisect", "nf4/latency", "--good", FIRST, "--bad", LAST, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert [each["artifact"][0] for each in document["culprits"]] == ["c"]
    assert [(step["artifact"][0], step["changed"]) for step in document["steps"]] == [
        ("d", True),
        ("c", True),
        ("b", False),
    ]
    roles = bench.rows("SELECT role, count(*) FROM measurement WHERE role != 'measured' GROUP BY role ORDER BY role")
    assert roles == [("baseline", 3), ("candidate", 3)]
    assert bench.rows("SELECT count(*) FROM session")[0][0] > 3 * 2 * 10  # nothing that was measured is lost
    assert bench("report").code == 0


def test_dry_run_lists_the_programs_and_measures_nothing(board: Board, bench: Bench) -> None:
    (folder,) = (path for path in Path(bench.home / "artifacts").iterdir() if set(path.name) == {"b"})
    (folder / "artifact.json").unlink()
    ran = bench("bisect", "nf4/latency", "--good", FIRST, "--bad", LAST, "--dry-run")
    assert ran.code == 0, ran.err
    first, second, *_, last = ran.out.splitlines()
    assert first.startswith("program aaaaaaaa")
    assert second.endswith("no longer on this host")
    assert last == "at most 3 of them are measured, in 10 pairs of sessions each"
    assert bench.rows("SELECT DISTINCT role FROM measurement") == [("measured",)]


def test_programs_that_are_gone_are_one_sentence(board: Board, bench: Bench) -> None:
    for path in Path(bench.home / "artifacts").iterdir():
        if len(set(path.name)) == 1:
            (path / "artifact.json").unlink()
    ran = bench("bisect", "nf4/latency", "--good", FIRST, "--bad", LAST)
    assert ran.code == 2
    assert "is no longer on this host" in ran.sentence


def test_a_device_that_left_the_inventory_is_one_sentence(board: Board, bench: Bench) -> None:
    inventory = bench.folder / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("local:", "other:", 1))
    ran = bench("bisect", "nf4/latency", "--good", FIRST, "--bad", LAST)
    assert ran.code == 2
    assert "local" in ran.err
    assert "Traceback" not in ran.err
