"""`suite experiment`: quick versions of real experiments on this machine, their pages, and bad input."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.support.end_to_end.suite_runs import Bench, Ran


def _quick_answer(ran: Ran) -> dict[str, Any]:
    """Asserts that all parts of a quick experiment finished; returns the answer of this machine."""
    assert ran.code == 0, ran.err
    assert {part["status"] for part in ran.document["parts"]} == {"finished"}
    answer: dict[str, Any] = ran.document["answers"]["local"]
    assert answer["picture"]["curves"]
    return answer


def test_parallelism_is_answered_with_a_page(bench: Bench) -> None:
    ran = bench("experiment", "parallelism", "--quick", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert [(part["name"], part["status"]) for part in found["parts"]] == [
        ("shapes", "finished"),
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


def test_headline_weighs_every_claim_and_leads_to_commands_that_work(bench: Bench) -> None:
    found = _quick_answer(bench("experiment", "headline", "--quick", "--json"))
    assert "claims hold here" in found["sentence"]
    claims, *rest = found["evidence"]
    assert [table["title"].split()[0] for table in rest] == ["All", "Losses", "Trainings", "Where"]
    rows = [dict(zip(claims["heads"], row, strict=True)) for row in claims["rows"]]
    assert {row["verdict"] for row in rows} <= {"agrees", "does not", "can't be told"}
    assert all(row["why"] for row in rows if row["verdict"] != "agrees")
    (engine,) = (row for row in rows if row["claim"].startswith("the program loses no accuracy"))
    assert engine["verdict"] == "agrees"
    assert all(row["this device"] is not None for row in rows)
    for command in {one for row in rows for one in row["command"].split(" && ") if one.startswith("suite run")}:
        again = bench(*shlex.split(command)[1:], "--dry-run")
        assert again.code == 0, again.err


def test_fine_tune_lists_costs_of_trainings_and_what_has_no_sensor(bench: Bench) -> None:
    found = _quick_answer(bench("experiment", "fine-tune", "--quick", "--json"))
    assert "fine-tune tiny on the built-in reviews to a held-out accuracy of 0.55" in found["sentence"]
    bills, *rest = found["evidence"]
    assert [row[0] for row in bills["rows"]] == ["prge fp32", "prge nf4"]
    (unknown,) = (table for table in rest if table["title"].startswith("What is unknown"))
    assert {"joules", "battery, %"} <= {row[1] for row in unknown["rows"]}
    assert all(row[2] for row in unknown["rows"])
    assert found["picture"]["curves"][-1]["y"] == [0.55, 0.55]


def test_precision_trains_measures_and_checks_every_setting(bench: Bench) -> None:
    answer = _quick_answer(bench("experiment", "precision", "--quick", "--json"))
    assert answer["sentence"].startswith("Against fp32 (accuracy ")
    titles = [
        "Trainings in each setting",
        "Steps, with sessions of all settings in turn",
        "Noise of projected gradients",
    ]
    assert [table["title"] for table in answer["evidence"]] == titles
    assert [[row[0] for row in table["rows"]] for table in answer["evidence"]] == [["fp32", "nf4"]] * 3
    assert answer["missing"] == []


def test_estimators_are_compared_after_equal_work(bench: Bench) -> None:
    answer = _quick_answer(bench("experiment", "estimators", "--quick", "--json"))
    assert answer["sentence"].startswith("After 1,024 forward tokens each, against prge (accuracy ")
    end, way = answer["evidence"]
    assert [row[0] for row in end["rows"]] == ["prge", "mezo-lora-fa", "fzoo"]
    assert {row[end["heads"].index("forward tokens")] for row in end["rows"]} == {1024.0}
    assert len(way["rows"]) == 9
    assert answer["missing"] == []


def test_generalization_trains_on_long_rows_code_and_a_users_task(bench: Bench) -> None:
    lines = [f"the {word} was {'fine' if even else 'bad'}\t{even}" for word in "abcdefghijkl" for even in (0, 1)]
    path = bench.folder / "mine.tsv"
    path.write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    answer = _quick_answer(bench("experiment", "generalization", "--quick", "--task", str(path), "--json"))
    assert [row[:2] for row in answer["evidence"][0]["rows"]] == [
        [task, method]
        for task in ("short rows", "code", "rows of 128", "your task")
        for method in ("prge", "mezo-lora-fa")
    ]
    assert "can't be told" in answer["sentence"]
    assert answer["missing"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("experiment",), "No experiment is named"),
        (("experiment", "paralelism"), "parallelism"),
        (("experiment", "parallelism", "--device", "nobody"), "nobody"),
        (("experiment", "precision", "--quick", "--task", "mine.csv"), "precision has tasks of its own"),
        (("experiment", "--resume"), "There is no interrupted experiment to resume"),
        (("experiment", "--show", "latest"), "There is no experiment yet"),
        (("experiment", "--show", "latest", "--quick"), "leave out --quick"),
    ],
)
def test_bad_input_is_a_sentence(words: tuple[str, ...], sentence: str, bench: Bench) -> None:
    ran = bench(*words)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
