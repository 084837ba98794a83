"""Which trainings a race makes, and which races there can't be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foundation.errors import UserError
from suite.training.plan import TrainingPlan
from suite.training.race_plans import plans_of_methods

SETTINGS: dict[str, Any] = {"model": "tiny", "q": None, "b": 2, "T": 32, "seed": 7}


def test_every_method_runs_with_every_setting_and_seed_and_its_own_queries() -> None:
    plans = plans_of_methods(
        ("local",), ["prge", "mezo-lora-fa"], ["fp32", "nf4"], 3, SETTINGS | {"q": 8}, {"steps": 6}
    )
    found = [(each.plan.method, each.plan.q, each.plan.seed) for each in plans]
    assert found == [(method, q, seed) for seed in (7, 8, 9) for method, q in (("prge", 8), ("mezo-lora-fa", 1))]
    assert {each.plan.quants for each in plans} == {("fp32", "nf4")}
    assert {each.steps for each in plans} == {6}


def test_robustness_follows_each_training_by_the_same_one_disturbed() -> None:
    plans = plans_of_methods(("local",), ["prge", "fzoo"], ["nf4"], 2, SETTINGS, {"steps": 6}, robustness=True)
    assert [each.disturbed for each in plans] == [False, True] * 4
    assert all(replace(one, disturbed=True) == twin for one, twin in zip(plans[::2], plans[1::2], strict=True))
    assert [each.steps_lost(2, 5) for each in plans[:2]] == [0, 2]
    assert TrainingPlan.from_document(plans[1].document()) == plans[1]


@pytest.mark.parametrize(
    ("methods", "quants", "seeds", "training", "words"),
    [
        (["prge"], ["fp32"], 3, {}, "two contenders"),
        (["prge", "prge"], ["fp32"], 3, {}, "two contenders"),
        ([], ["fp32", "nf4"], 3, {}, "two contenders"),
        (["prge", "sgd"], ["fp32"], 3, {}, "sgd"),
        (["prge", "mezo-lora-fa"], ["fp33"], 3, {}, "fp33"),
        (["prge", "mezo-lora-fa"], ["fp32"], 0, {}, "--seeds"),
        (["prge", "mezo-lora-fa"], ["fp32"], 3, {"budget_minutes": 1.0, "budget_joules": 1.0}, "one budget"),
        (["prge", "mezo-lora-fa"], ["fp32"], 3, {"target": 80.0}, "--target"),
    ],
)
def test_a_race_that_can_not_be_is_refused_in_a_sentence(
    methods: list[str], quants: list[str], seeds: int, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        plans_of_methods(("local",), methods, quants, seeds, SETTINGS, training)
