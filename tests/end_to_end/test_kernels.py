"""A run uses the kernels of the runner that are the fastest on its device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench, by_setting

QUICK = (*RUN, "--quick", "--quant", "fp32,nf4", "--json")


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    return make_board(bench, monkeypatch)


def kernels(document: dict[str, object]) -> dict[str, str]:
    """The kernels that the sessions of each setting used."""
    return {quant: item["setup"]["kernels"] for quant, item in by_setting(document).items()}


def test_sessions_use_the_fastest_kernels_which_are_compared_once(board: Board, bench: Bench) -> None:
    board.variants = {"wide": 1200, "narrow": 1000}
    board.script()
    ran = bench(*QUICK)
    assert kernels(ran.document) == {"fp32": "wide", "nf4": "narrow"}  # fp32's products are not the kernels'
    assert "local: nf4 uses the kernels narrow: wide would take 1.20 times as long" in ran.err
    assert "narrow; a product takes wide 1.20 times as long" in Path(ran.document["report"]).read_text()
    board.variants = {"wide": 1000, "narrow": 9000}
    board.script()
    again = bench(*QUICK)
    assert kernels(again.document) == {"fp32": "wide", "nf4": "narrow"}
    assert "kernels" not in again.err


def test_the_widest_kernels_are_used_where_a_comparison_fails(board: Board, bench: Bench) -> None:
    board.variants = {"wide": 0, "narrow": 1000}
    board.script()
    ran = bench(*QUICK)
    assert (ran.code, kernels(ran.document)) == (0, {"fp32": "wide", "nf4": "wide"})
    assert "local: its kernels were not compared, the widest are used: " in ran.err
