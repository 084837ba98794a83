"""`suite experiment`: quick versions of real experiments on this machine, their pages, and bad input."""

from __future__ import annotations

import json

import pytest

from tests.support.end_to_end.suite_runs import Bench


def test_parallelism_is_answered_with_a_page(bench: Bench) -> None:
    ran = bench("experiment", "parallelism", "--quick", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert [(part["name"], part["status"]) for part in found["parts"]] == [
        ("shapes", "finished"),
        ("loops", "finished"),
        ("held_out", "finished"),
    ]
    answer = found["answers"]["local"]
    assert "The inner loop side by side makes a step" in answer["sentence"]
    assert [table["title"].split()[0] for table in answer["evidence"]] == ["Steps", "What", "Forecasts"]
    assert answer["missing"] == []
    folder = bench.home / "experiments" / found["experiment_id"]
    page = (folder / "experiment.html").read_text()
    assert answer["sentence"] in page
    assert "times as fast" in page
    kept = json.loads((folder / "experiment.json").read_text())
    assert kept == {name: value for name, value in found.items() if name != "page"}
    assert bench("experiment", "--show", "latest", "--json").document == found
    (line,) = [line for line in bench("experiment", "list").out.splitlines() if "parallelism" in line]
    assert "local, quick" in line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("experiment",), "No experiment is named"),
        (("experiment", "paralelism"), "parallelism"),
        (("experiment", "parallelism", "--device", "nobody"), "nobody"),
        (("experiment", "--resume"), "There is no interrupted experiment to resume"),
        (("experiment", "--show", "latest"), "No experiment was made yet"),
        (("experiment", "--show", "latest", "--quick"), "leave out --quick"),
    ],
)
def test_bad_input_is_a_sentence(words: tuple[str, ...], sentence: str, bench: Bench) -> None:
    ran = bench(*words)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
