"""`suite race` and `suite train`: what their options make of plans, and what they print of made-up trainings."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.model.training import Training
from suite.cli.main import run_command
from suite.errors import ExitCode
from suite.training import conduct
from suite.training.plan import TrainingPlan
from tests.support.reports.training_fixtures import made_up, rising


def trainings(status: str = "finished") -> list[Training]:
    plan = {"target": 0.7}
    found = [
        made_up(rising(top, 100.0), quant=quant, seed=seed, plan=plan, step_s=1 + seed / 100, device="local")
        for quant, top in (("fp32", 0.85), ("nf4", 0.72))
        for seed in (7, 8, 9)
    ]
    return [*found[:-1], made_up([(0, 0.5), (100, 0.6)], quant="nf4", seed=9, plan=plan, status=status, device="local")]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[TrainingPlan]:
    """The plans that the command would carry out; made-up trainings come back instead."""
    plans: list[TrainingPlan] = []

    def begin(given: Sequence[TrainingPlan], *_: object) -> list[Training]:
        plans.extend(given)
        return trainings("failed" if given[0].steps == 3 else "finished")

    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(conduct, "begin", begin)
    monkeypatch.setattr("suite.cli.training.train.write_report", lambda *_: str(tmp_path / "page.html"))
    monkeypatch.setattr("suite.cli.training.train.write_report", lambda *_: str(tmp_path / "page.html"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n")
    return plans


def test_options_become_a_plan_for_each_method_and_seed(asked: list[TrainingPlan]) -> None:
    words = "race --device local --model tiny --methods prge,mezo-lora-fa --quants fp32,nf4 --seeds 2 --target 0.7"
    assert run_command(words.split()) == ExitCode.OK
    found = [(each.plan.method, each.plan.quants, each.plan.seed, each.target) for each in asked]
    assert found == [(name, ("fp32", "nf4"), seed, 0.7) for seed in (7, 8) for name in ("prge", "mezo-lora-fa")]


def test_contenders_become_a_plan_each_with_what_they_say_and_the_options_for_the_rest(
    asked: list[TrainingPlan],
) -> None:
    contenders = ("--contender", "prge q=4 b=4 lr=1e-3", "--contender", "fo-lora-fa lr=5e-3 steps=50")
    words = ("race", "--device", "local", "--model", "tiny", *contenders, "--seeds", "1", "--steps", "80", "-b", "16")
    assert run_command(list(words)) == ExitCode.OK
    found = [(each.plan.method, each.plan.q, each.plan.b, each.plan.lr, each.steps) for each in asked]
    assert found == [("prge", 4, 4, 1e-3, 80), ("fo-lora-fa", 1, 16, 5e-3, 50)]


def test_table_names_each_contender_whom_it_lacks_and_whether_someone_won(
    asked: list[TrainingPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    words = "race --device local --quants fp32,nf4 --target 0.7 --steps 3"
    assert run_command(words.split()) == ExitCode.INCOMPLETE
    out = capsys.readouterr().out
    assert re.search(r"local +prge fp32 +3 of 3 ", out) and re.search(r"local +prge nf4 +2 of 3 ", out)
    assert "local prge nf4: seed 9 reached 0.600 at most in 100 steps and is failed" in out
    assert "can't be told: prge fp32 against prge nf4: a seed of prge nf4 that did not reach it ended too early" in out
    assert "energy is unavailable" in out
    assert out.splitlines()[-1].startswith("report: ") and not set(out) & set("\u00a0\u2013\u2212")


def test_train_names_the_page_too_and_takes_the_queries_of_its_method(
    asked: list[TrainingPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", "--device", "local", "--quant", "nf4", "--method", "mezo-lora-fa"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1].endswith("page.html")
    assert run_command(["train", "--device", "local", "--quant", "nf4", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["report"].endswith("page.html")
    assert [each.plan.q for each in asked] == [1, 4]


def test_json_has_races_trainings_and_the_page(asked: list[TrainingPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_command(["race", "--device", "local", "--quants", "fp32,nf4", "--target", "0.7", "--json"]) == ExitCode.OK
    )
    document = json.loads(capsys.readouterr().out)
    (race,) = document["races"]
    assert [one["name"] for one in race["contenders"]] == ["prge fp32", "prge nf4"]
    assert race["contenders"][0]["cost_to_target"]["seconds"]["seeds"] == 3
    assert len(document["trainings"]) == 6 and document["report"].endswith("page.html")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("race --quants fp32,nf4", "No device is named"),
        ("race --device local --methods prge", "two contenders"),
        ("race --device local --methods prge,sgd", "sgd"),
        ("race --device local --target 80", "--target"),
        ("race --device local --contender prge", "two contenders"),
        ("race --device local --contender prge --contender fzoo --quants nf4", "leave out --quants"),
        ("race --device local --methods prge --contender prge --contender fzoo", "leave out --methods"),
    ],
)
def test_what_can_be_no_race_is_a_sentence(
    asked: list[TrainingPlan], capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    assert run_command(words.split()) == ExitCode.USAGE
    assert sentence in capsys.readouterr().err
    assert asked == []
