"""`suite run --plan`: several workloads in one run, each on its own devices, within a budget of time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import Bench

PLAN = """\
defaults: {devices: all, models: tiny, steps: 3}
plans:
  settings: {quants: [fp32, nf4], shapes: [{q: 2, b: 2, T: 32}], sessions: 2}
"""


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    yield make_board(bench, monkeypatch)


@pytest.fixture
def plan(bench: Bench) -> Path:
    path = bench.folder / "lab.yaml"
    path.write_text(PLAN)
    return path


def test_a_plan_file_is_measured_in_one_run(board: Board, bench: Bench, plan: Path) -> None:
    ran = bench("run", "--plan", str(plan), "--json")
    assert ran.code == 0, ran.err
    assert [item["workload"]["quant"] for item in ran.document["measurements"]] == ["fp32", "nf4"]
    assert len(bench.runs()) == 1
    assert [session[:2] for session in bench.sessions()] == [("fp32", 0), ("nf4", 0), ("nf4", 1), ("fp32", 1)]


def test_each_plan_has_its_devices_and_its_number_of_sessions(board: Board, bench: Bench, plan: Path) -> None:
    twins = "devices:\n  one: {kind: local, emulated: true}\n  two: {kind: local, emulated: true}\n"
    (bench.folder / "inventory.yaml").write_text(twins)
    plan.write_text(
        "defaults: {models: tiny, steps: 3, shapes: [{q: 2, b: 2, T: 32}]}\n"
        "plans:\n"
        "  a: {devices: one, quants: fp32, sessions: 1}\n"
        "  b: {devices: all, quants: nf4, sessions: 3}\n"
    )
    ran = bench("run", "--plan", str(plan), "--json")
    assert ran.code == 0, ran.err
    counted = [
        (item["device"], item["workload"]["quant"], len(item["latency_ms"]["sessions"]))
        for item in ran.document["measurements"]
    ]
    assert counted == [("one", "fp32", 1), ("one", "nf4", 3), ("two", "nf4", 3)]
    assert "one: tiny nf4 q=2 b=2 T=32 session 3/3" in ran.err


def test_a_budget_that_is_used_up_leaves_the_rest_out_and_says_so(board: Board, bench: Bench, plan: Path) -> None:
    # Idle power takes 10 s of the board's clock before the first session and after each.
    plan.write_text("budget_minutes: 0.5\n" + PLAN)
    ran = bench("run", "--plan", str(plan), "--json")
    assert ran.code == 4
    assert len(bench.sessions()) == 2
    reasons = [item["reason"] for item in ran.document["measurements"]]
    assert all("the budget of 0.5 minutes on this device was used up" in reason for reason in reasons)
    assert [item["status"] for item in ran.document["measurements"]] == ["partial", "partial"]


def test_settings_beside_a_plan_file_are_refused(bench: Bench, plan: Path) -> None:
    ran = bench("run", "--plan", str(plan), "--steps", "5")
    assert ran.code == 2
    assert "leave out --steps" in ran.sentence


def test_plan_check_explains_what_a_file_expands_to(bench: Bench, plan: Path) -> None:
    plan.write_text("budget_minutes: 0.01\n" + PLAN)
    ran = bench("plan", "check", str(plan))
    assert ran.code == 0
    assert "q=2 b=2 T=32 rank=16" in ran.out
    assert "times its budget of 0.01 min: the last sessions would be left out" in ran.out
    assert bench("plan", "check", str(plan), "--json").document["devices"]["local"]["seconds"] > 0


def test_dry_run_of_a_plan_file_lists_each_plan(bench: Bench, plan: Path) -> None:
    ran = bench("run", "--plan", str(plan), "--dry-run")
    assert ran.code == 0
    assert "4 sessions of 3 measured steps, interleaved over fp32, nf4" in ran.out
    assert "to measure it: suite run --plan" in ran.out
