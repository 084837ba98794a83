"""Which trainings a race makes, and which races there can't be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from foundation.errors import UserError
from suite.training.plan import TrainingPlan
from suite.training.race_plans import plans_of_contenders, plans_of_methods

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


def contenders_of(
    *words: str, seeds: int = 1, settings: dict[str, Any] = SETTINGS, **training: Any
) -> list[TrainingPlan]:
    return plans_of_contenders(("local",), words, seeds, settings, {"steps": 20, "eval_every": 5} | training)


def test_a_contender_has_what_its_words_say_and_the_rest_from_the_race() -> None:
    words = ("prge q=4 b=4 lr=1e-3 inner=off quant=nf4 eval-every=10", "fo-lora-fa lr=5e-3 schedule=linear steps=6")
    settings = SETTINGS | {"q": 8, "lr": 0.5, "eps": 0.02}
    found = contenders_of(*words, seeds=2, settings=settings, schedule="cosine", target=0.7)
    prge, first_order, later, _ = found
    assert (prge.plan.method, prge.plan.quants, prge.plan.q, prge.plan.b) == ("prge", ("nf4",), 4, 4)
    assert (prge.plan.lr, prge.plan.eps, prge.plan.inner, prge.plan.T) == (1e-3, 0.02, False, 32)
    assert (prge.steps, prge.eval_every, prge.schedule, prge.target) == (20, 10, "cosine", 0.7)
    assert (first_order.plan.quants, first_order.plan.q, first_order.plan.b) == (("fp32",), 1, 2)
    assert (first_order.steps, first_order.eval_every, first_order.schedule) == (6, 5, "linear")
    assert [each.plan.seed for each in found] == [7, 7, 8, 8]
    assert later == replace(prge, plan=replace(prge.plan, seed=8))


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("prge q=1 b=16", "prge q=16 b=1"), [{}, {}]),  # the workload has it
        (("prge", "prge lr=auto eps=1e-3"), [{"eps": 0.01}, {"eps": 0.001}]),
        (("prge", "fo-lora-fa"), [{"lr": 0.001}, {"lr": 0.005}]),
        (("prge eps=1", "prge eps=2", "fo-lora-fa lr=1e-3"), [{"eps": 1.0}, {"eps": 2.0}, {}]),
        (
            ("prge", "prge steps=6", "prge schedule=linear"),
            [{"steps": 20}, {"steps": 6}, {"schedule": "linear", "steps": 20}],
        ),
    ],
)
def test_contenders_are_distinguished_by_what_their_workloads_do_not_have(
    words: Sequence[str], own: list[dict[str, Any]]
) -> None:
    plans = contenders_of(*words)
    assert [each.own_settings for each in plans] == own
    assert [TrainingPlan.from_document(json.loads(json.dumps(each.document()))) for each in plans] == plans


def test_an_a_of_discriminants_tells_a_contender_from_one_that_is_drawn() -> None:
    plans = contenders_of("prge init=discriminant", "prge")
    assert [each.init for each in plans] == ["discriminant", "random"]
    assert [each.own_settings for each in plans] == [{"init": "discriminant"}, {}]


def test_a_total_is_a_contender_for_each_shape_that_the_method_allows() -> None:
    found = contenders_of("prge total=4 lr=1e-2", "fzoo total=4")
    assert [(each.plan.method, each.plan.q, each.plan.b) for each in found] == [
        *(("prge", q, 4 // q) for q in (1, 2, 4)),
        *(("fzoo", q, 4 // q) for q in (2, 4)),
    ]
    assert {each.plan.lr for each in found[:3]} == {1e-2}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("prge",), "two contenders"),
        (("", "prge"), "does not start with a method"),
        (("q=4 lr=1", "prge"), "does not start with a method"),
        (("pgre", "prge"), "did you mean prge"),
        (("prge q", "prge"), "'q' is not of the form key=value"),
        (("prge shedule=linear", "prge"), "did you mean schedule"),
        (("prge schedule=liner", "prge"), 'Contender "prge schedule=liner": .* did you mean linear'),
        (("prge q=1.5", "prge"), "q is '1.5', but it must be a whole number"),
        (("prge lr=fast", "prge"), "lr is 'fast', but it must be a number"),
        (("prge lr=nan", "prge"), "lr is nan"),
        (("prge inner=no", "prge"), "inner is 'no', but it must be on or off"),
        (("prge eval-every=0", "prge"), "--eval-every is 0"),
        (("prge T=16", "prge"), "T is the same for all contenders"),
        (("prge q=1 q=2", "prge"), "q is given twice"),
        (("prge total=4 b=1", "prge"), "total stands for q \\* b, but b is given too"),
        (("mezo-lora-fa q=4", "prge"), "mezo-lora-fa has 1 query a step"),
        (("mezo-full quant=int8", "prge"), "mezo-full updates weights in float32 or float16"),
        (("fo-lora-fa eps=1e-2", "prge"), "perturbs nothing"),
        (("prge q=4", "prge  lr=1e-3"), '"prge q=4" and "prge  lr=1e-3" have a training in common'),
        (("fo-lora-fa", "fo-lora-fa lr=5e-3 eval_every=1"), "have a training in common"),
        (("prge total=4", "prge q=2 b=2"), "have a training in common"),
    ],
)
def test_contenders_that_can_not_be_are_refused_in_a_sentence(words: Sequence[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        contenders_of(*words)
    assert "\n" not in str(refused.value)
