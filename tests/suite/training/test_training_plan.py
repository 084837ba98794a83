"""What a training plan decides: where segments end, which rates its calls get, when it is over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.training import Evaluation, Segment, Training
from suite.planning.plan import Plan
from suite.training.plan import TrainingPlan, next_end
from workloads.method import METHODS

PLAN = TrainingPlan(Plan(("board",), model="tiny", quants=("fp32",)), steps=20, eval_every=8, checkpoint_every=5)


def training(*steps: int, seconds: float = 1.0, energy_mj: float | Unavailable = 500.0) -> Training:
    """A training with segments of so many steps, each of which takes `seconds` and a part of `energy_mj` a step."""
    segments, first = [], 0
    for count in steps:
        energy = energy_mj if isinstance(energy_mj, Unavailable) else energy_mj * count
        segments.append(Segment(first, seconds * count, None, energy, None, ((seconds, 2.0),) * count))
        first += count
    return Training(
        training_id="t",
        group_id="g",
        device="board",
        kind="linux",
        emulated=False,
        workload={},
        seed=7,
        plan={},
        started_at="",
        finished_at=None,
        status="running",
        reason=None,
        segments=tuple(segments),
        evaluations=(),
    )


@pytest.mark.parametrize(
    ("changes", "method", "sentence"),
    [
        ({"init": "discriminants"}, "prge", "discriminant"),
        ({"init": "discriminant"}, "mezo-full", "mezo-full has no adapters, so --init chooses nothing"),
        ({"init": "discriminant", "adapter": "folder"}, "prge", "--adapter has an A of its own"),
    ],
)
def test_an_a_that_can_not_be_is_refused(changes: dict[str, str], method: str, sentence: str) -> None:
    plan = replace(PLAN.plan, method=method, q=1)
    with pytest.raises(UserError, match=sentence):
        TrainingPlan(plan, **changes)  # type: ignore[arg-type]


def test_segments_end_at_checkpoints_and_evaluations_and_the_last_step() -> None:
    ends = [0]
    while ends[-1] < PLAN.steps:
        ends.append(PLAN.segment_end(ends[-1]))
    assert ends == [0, 5, 8, 10, 15, 16, 20]
    assert [step for step in range(21) if PLAN.evaluates_at(step)] == [0, 8, 16, 20]


@pytest.mark.parametrize("method", ["fo-lora-fa", "mezo-full"])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_pending_update_is_made_at_the_rate_of_its_own_step(schedule: str, method: str) -> None:
    plan = replace(PLAN, schedule=schedule)
    at_once = replace(plan, plan=replace(plan.plan, method=method, q=1))
    whole = plan.rates(0.5, 0, 20)
    np.testing.assert_array_equal(whole[1:], at_once.rates(0.5, 0, 20)[:-1])
    np.testing.assert_array_equal(np.concatenate([plan.rates(0.5, 0, 7), plan.rates(0.5, 7, 13)]), whole)
    assert plan.rate_after(0.5, 20) == pytest.approx(at_once.rates(0.5, 19, 1)[0])
    expected = {"constant": 0.5, "linear": 0.5 * (1 - 10 / 20), "cosine": 0.5 * 0.5}
    assert at_once.rates(0.5, 10, 1)[0] == pytest.approx(expected[schedule])


def test_a_plan_comes_back_from_its_document() -> None:
    plan = replace(PLAN, schedule="cosine", target=0.8, budget_minutes=3.0)
    assert TrainingPlan.from_document(plan.document()) == plan
    with pytest.raises(UserError, match="another version"):
        TrainingPlan.from_document({**plan.document(), "unknown": 1})


def test_a_budget_shortens_the_last_segment_and_ends_the_training() -> None:
    plan = replace(PLAN, steps=1000, budget_minutes=0.5)
    assert next_end(plan, training()) == 2
    assert next_end(plan, training(2)) == 5
    assert next_end(plan, training(2, 3, 3, 2, 5, 1, 4, 4, 1)) == 30
    assert next_end(plan, training(30)) == "used up --budget-minutes, 30.0 of 30.0 s"
    assert next_end(plan, training(29, seconds=1.02)) == "used up --budget-minutes, 29.6 of 30.0 s"


def test_a_budget_of_joules_counts_energy_and_needs_some() -> None:
    plan = replace(PLAN, steps=1000, budget_joules=10.0)
    assert next_end(plan, training(18)) == 20
    assert str(next_end(plan, training(20))).startswith("used up --budget-joules")
    with pytest.raises(UserError, match="energy of board is unavailable: no sensor"):
        next_end(plan, training(2, energy_mj=Unavailable("no sensor")))


def test_a_budget_that_holds_no_step_is_refused_with_what_a_step_takes() -> None:
    plan = replace(PLAN, budget_minutes=0.01)
    with pytest.raises(UserError, match=r"allows 0.6\d* s, but one step on board takes 1.0\d* s"):
        next_end(plan, training(2))


def test_a_target_ends_a_training_at_the_evaluation_that_reached_it() -> None:
    plan = replace(PLAN, target=0.75)
    evaluations = (Evaluation(0, 8, 0.5, 3.0, 1.0), Evaluation(8, 8, 0.75, 2.0, 1.0))
    assert next_end(plan, replace(training(8), evaluations=evaluations[:1])) == 10
    assert next_end(plan, replace(training(8), evaluations=evaluations)) == "reached an accuracy of 0.750 after 8 steps"
    assert next_end(PLAN, training(20)) == "made all 20 steps"


@pytest.mark.parametrize("loop", ["outer", "inner"])
@pytest.mark.parametrize("way", [True, False])
def test_how_loops_of_steps_run_does_not_matter_to_the_program_that_evaluates(loop: str, way: bool) -> None:
    stepping = replace(PLAN, plan=replace(PLAN.plan, **{loop: way}))  # type: ignore[arg-type]
    assert stepping.evaluation(16) == PLAN.evaluation(16)


@pytest.mark.parametrize(("method", "quant"), [("mezo-full", "fp16"), ("qzo", "nf4")])
def test_what_has_no_adapter_is_evaluated_by_a_program_of_its_own(method: str, quant: str) -> None:
    plan = replace(PLAN, plan=replace(PLAN.plan, method=method, quants=(quant,), q=1))
    (evaluation,) = plan.evaluation(16).workloads(answers=1, candidates=3)
    assert evaluation.training_method.trains == plan.method.trains
    assert evaluation.training_method.inputs == ("tokens", "first", "labels")
    assert evaluation.method not in METHODS
