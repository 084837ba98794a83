"""docs/results.md and its notebook say what the data frames have, and the notebook runs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from suite.results.tables import TABLES
from suite.store.store import Store, VerdictRow
from tests.support.reports.synthetic_store import Shape, fill

DOCS = Path(__file__).parents[3] / "docs"
NOTEBOOK = json.loads((DOCS / "results.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    """The names that its cells leave, and what each of them ends with, which a notebook prints."""
    home = tmp_path_factory.mktemp("home")
    fill(home / "store.sqlite", Shape(nights=11, devices=2, steps=5))
    store = Store.open(home / "store.sqlite")
    store.add_verdicts([VerdictRow(1, 161, "regressed", "nightly 3", {}, {"ratio": 1.08})])
    store.close()
    names: dict[str, Any] = {}
    ends = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_HOME", str(home))
        for source in CELLS:
            *statements, last = ast.parse(source).body
            exec(compile(ast.Module(statements, []), "results.ipynb", "exec"), names)  # noqa: S102 - it is ours
            assert isinstance(last, ast.Expr)
            ends.append(eval(compile(ast.Expression(last.value), "results.ipynb", "eval"), names))  # noqa: S307
    return names, ends


def test_every_cell_of_the_notebook_runs_and_prints_something(ran):
    _, ends = ran
    frames = [end for end in ends if isinstance(end, pandas.DataFrame | pandas.Series)]
    assert len(ends) == len(CELLS) and len(frames) == 5
    assert all(len(frame) for frame in frames)
    assert "latency of a step, ms" in next(end for end in ends if hasattr(end, "to_json") and "layout" in end).to_json()


def test_its_numbers_are_those_of_the_store(ran):
    names, ends = ran
    measured, medians = names["measured"], ends[1]
    assert len(measured) == 11 * 2 * 2 * 4 and len(medians) == 2 * 2 * 4
    one = measured[(measured.device == "board-01") & (measured["T"] == 64) & (measured.quant == "int8")]
    assert medians.loc["board-01", "smollm2-135m", 64, "int8"].latency_ms_median == one.latency_ms_median.median()
    assert names["during"].value.eq(190_000.0).all() and len(names["steps"]) == 8 * 3 * 5
    # Every 100 ms of five steps of 2.5 s.
    assert len(names["during"]) == 8 * 3 * 125


def test_the_notebook_is_one_and_keeps_no_outputs():
    assert (NOTEBOOK["nbformat"], {cell["cell_type"] for cell in NOTEBOOK["cells"]}) == (4, {"markdown", "code"})
    assert not any(cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")


def test_the_page_names_every_column():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`(\w+)`", page))
    assert {name for table in TABLES for name in table.columns} <= words
    assert {table.name for table in TABLES} <= set(re.findall(r"^### (\w+)\(\)$", page, re.MULTILINE))
