"""Races on made-up curves whose answers are known: costs, intervals, who wins, what is on the front, who is named."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from scipy import stats

from foundation.unavailable import Json, Unavailable
from reports.model.race import Budget, CostToTarget, Estimate, Race
from reports.model.reading import Interval
from reports.model.training import Training, contender_names
from suite.results.race import budget_of, cost_to_target, quality_under_budget, races
from suite.results.race_answers import estimate_accuracy, estimate_cost
from tests.support.reports.training_fixtures import made_up

SEEDS = (7, 8, 9)
TARGET = {"target": 0.7}


def reaching(step: int, last: int = 100) -> list[tuple[int, float]]:
    """A curve with evaluations every 10 steps that is at 0.8 from `step` on, and at 0.5 before."""
    return [(at, 0.8 if at >= step else 0.5) for at in range(0, last + 1, 10)]


def only_race(*contenders: Sequence[Training]) -> Race:
    (found,) = races([one for own in contenders for one in own])
    return found


def prge(steps: Sequence[int], step_s: float = 1.0, **more: float) -> list[Training]:
    return [
        made_up(reaching(step), seed=seed, step_s=step_s + seed / 1000, plan=TARGET, **more)  # type: ignore[arg-type]
        for step, seed in zip(steps, SEEDS, strict=False)
    ]


def mezo(steps: Sequence[int], step_s: float = 1.0) -> list[Training]:
    return [
        made_up(reaching(step), method="mezo-lora-fa", seed=seed, step_s=step_s + seed / 1000, plan=TARGET)
        for step, seed in zip(steps, SEEDS, strict=False)
    ]


def known(found: Estimate | Unavailable) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


def test_cost_of_seeds_is_the_geometric_mean_with_students_interval_on_logarithms() -> None:
    costs = [10.0, 20.0, 25.0, 14.0]
    found = estimate_cost(costs)
    logs = [math.log(cost) for cost in costs]
    low, high = stats.t.interval(0.95, 3, loc=sum(logs) / 4, scale=stats.sem(logs))
    assert isinstance(found.interval, Interval)
    assert found.value == pytest.approx(stats.gmean(costs))
    assert (found.interval.low, found.interval.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert (found.least, found.most, found.seeds) == (10.0, 25.0, 4)


def test_accuracy_of_seeds_has_students_interval_within_0_and_1() -> None:
    values = [0.9, 0.99, 0.95]
    found = estimate_accuracy(values)
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert isinstance(found.interval, Interval)
    assert found.interval.low == pytest.approx(low)
    assert high > 1 and found.interval.high == 1.0


@pytest.mark.parametrize("costs", [[3.0], [3.0, 5.0]])
def test_fewer_than_three_seeds_have_a_range_and_no_interval(costs: list[float]) -> None:
    found = estimate_cost(costs)
    assert isinstance(found.interval, Unavailable) and str(len(costs)) in found.interval.reason
    assert (found.least, found.most, found.seeds) == (costs[0], costs[-1], len(costs))


def test_cost_to_target_counts_up_to_the_first_evaluation_there_and_not_beyond() -> None:
    one = made_up([(0, 0.5), (10, 0.65), (20, 0.72), (30, 0.6), (40, 0.9)], step_s=2.0, step_mj=30.0)
    found = cost_to_target([one], 0.7)
    assert known(found.steps).value == pytest.approx(20)
    assert known(found.seconds).value == pytest.approx(40)
    assert known(found.energy_mj).value == pytest.approx(600)
    assert known(found.peak_memory_kib).value == pytest.approx(200_000)
    assert found.seconds_at_least == pytest.approx(20)
    assert found.missed == ()


def test_a_seed_that_never_reached_it_is_named_and_not_dropped() -> None:
    failed = made_up([(0, 0.5), (10, 0.6)], seed=9, status="failed", reason="the loss of step 12 is not finite")
    found = cost_to_target([made_up(reaching(30), seed=7), made_up(reaching(999), seed=8), failed], 0.7)
    assert known(found.seconds).seeds == 1
    assert found.missed == (
        "seed 8 reached 0.500 at most in 100 steps",
        "seed 9 reached 0.600 at most in 10 steps and is failed: the loss of step 12 is not finite",
    )


def test_a_target_that_no_seed_reached_has_no_cost() -> None:
    found = cost_to_target([made_up(reaching(999))], 0.7)
    assert all(isinstance(each, Unavailable) for each in (found.steps, found.seconds, found.energy_mj))


def test_a_target_below_the_untrained_accuracy_is_no_cost_and_says_so() -> None:
    race = only_race(
        [made_up([(0, 0.75), (10, 0.8)], seed=seed, plan=TARGET) for seed in SEEDS],
        [made_up([(0, 0.75), (10, 0.8)], seed=seed, plan=TARGET, quant="nf4") for seed in SEEDS],
    )
    cost = race.contenders[0].cost
    assert isinstance(cost, CostToTarget) and isinstance(cost.seconds, Unavailable)
    assert "before the first step" in cost.seconds.reason and "higher" in cost.seconds.reason
    assert "can't be told" in race.winners[0] and "higher" in race.winners[0]


def test_energy_that_is_unavailable_is_so_with_its_reason() -> None:
    found = cost_to_target([made_up(reaching(20))], 0.7)
    assert isinstance(found.energy_mj, Unavailable) and "power sensor" in found.energy_mj.reason


def test_the_winner_is_named_with_how_much_if_the_intervals_are_apart() -> None:
    (words,) = only_race(prge([20, 20, 20]), mezo([60, 60, 60])).winners
    assert words.startswith("prge fp32 reaches a held-out accuracy of 0.7 first, after 20.2\u00a0s of steps")
    # 60 against 20 steps of equal seconds; at least what the evaluation before, at step 50, says.
    assert "mezo-lora-fa fp32, the next, takes 3.00\u00d7 as long, at least 2.4" in words


def test_overlapping_intervals_are_no_win() -> None:
    (words,) = only_race(prge([20, 40, 60]), mezo([30, 50, 70])).winners
    assert "can't be told" in words and "overlap" in words


def test_what_lies_within_one_evaluation_is_no_win_however_narrow_the_intervals() -> None:
    (words,) = only_race(prge([20, 20, 20]), mezo([30, 30, 30])).winners
    assert "can't be told" in words and "--eval-every" in words


def test_too_few_seeds_are_no_win_however_far_apart() -> None:
    (words,) = only_race(prge([20, 20]), mezo([90, 90])).winners
    assert "can't be told" in words and "2 seeds" in words and "3" in words


def test_a_rival_that_never_reached_it_is_beaten_if_it_trained_for_longer() -> None:
    (words,) = only_race(prge([20, 20, 20]), mezo([999, 999, 999])).winners
    assert "prge fp32 reaches" in words and "nobody else" in words


def test_a_rival_that_broke_off_early_is_not_beaten() -> None:
    broken = [
        made_up([(0, 0.5), (10, 0.5)], method="mezo-lora-fa", seed=seed, status="failed", plan=TARGET) for seed in SEEDS
    ]
    (words,) = only_race(prge([20, 20, 20]), broken).winners
    assert "can't be told" in words and "too early" in words


def test_a_contender_that_did_not_get_there_with_every_seed_does_not_win() -> None:
    (words,) = only_race(prge([20, 20, 999]), mezo([999, 999, 999])).winners
    assert "can't be told" in words and "not every seed of prge fp32" in words


def test_nobody_reached_it() -> None:
    (words,) = only_race(prge([999, 999, 999]), mezo([999, 999, 999])).winners
    assert words.startswith("Nobody reached") and "--target" in words


def test_seconds_of_an_emulated_device_name_no_winner() -> None:
    emulated = [
        made_up(reaching(step), method=method, seed=seed, emulated=True, plan=TARGET)
        for method, step in (("prge", 20), ("mezo-lora-fa", 90))
        for seed in SEEDS
    ]
    (words,) = only_race(emulated).winners
    assert "can't be told" in words and "emulated" in words


def test_quality_is_the_last_accuracy_within_the_budget_and_not_the_best() -> None:
    curve = [(0, 0.5), (10, 0.9), (20, 0.8), (30, 0.95)]
    found = quality_under_budget([made_up(curve, seed=seed) for seed in SEEDS], Budget("seconds", 25.0, given=True))
    assert known(found.accuracy).value == pytest.approx(0.8)
    assert found.remarks == ()


def test_quality_under_a_budget_of_joules_needs_energy() -> None:
    budget = Budget("energy_mj", 250.0, given=True)
    curve = [(0, 0.5), (10, 0.6), (20, 0.7), (30, 0.8)]
    assert known(quality_under_budget([made_up(curve, step_mj=10.0)], budget).accuracy).value == pytest.approx(0.7)
    found = quality_under_budget([made_up(curve)], budget)
    assert isinstance(found.accuracy, Unavailable) and "power sensor" in found.remarks[0]


def test_quality_names_seeds_that_stopped_or_ended_before_the_budget() -> None:
    budget = Budget("seconds", 100.0, given=True)
    own = [
        made_up(reaching(20), seed=7),
        made_up(reaching(20, last=40), seed=8, reason="reached an accuracy of 0.800"),
        made_up(reaching(20, last=40), seed=9, status="failed", reason="the device went away"),
    ]
    found = quality_under_budget(own, budget)
    assert known(found.accuracy).seeds == 2
    assert found.remarks == (
        "seed 8 ended before the budget: reached an accuracy of 0.800",
        "seed 9 is failed before the budget: the device went away",
    )


def test_budget_is_the_given_one_or_what_every_finished_training_has_used() -> None:
    short, long = made_up(reaching(20, last=50)), made_up(reaching(20, last=90), seed=8)
    broken = made_up(reaching(20, last=10), seed=9, status="failed")
    assert budget_of([short, long, broken]) == Budget("seconds", 50.0, given=False)
    minutes = [made_up(reaching(20), plan={"budget_minutes": 2.0})]
    assert budget_of(minutes) == Budget("seconds", 120.0, given=True)
    joules = [made_up(reaching(20), plan={"budget_joules": 2.0})]
    assert budget_of(joules) == Budget("energy_mj", 2000.0, given=True)
    assert isinstance(budget_of([broken]), Unavailable)


def test_most_accurate_under_the_budget_wins_only_if_the_intervals_are_apart() -> None:
    def contender(quant: str, accuracies: Sequence[float]) -> list[Training]:
        return [
            made_up([(0, 0.5), (10, value)], quant=quant, seed=seed)
            for seed, value in zip(SEEDS, accuracies, strict=True)
        ]

    (words,) = only_race(contender("fp32", [0.80, 0.81, 0.82]), contender("nf4", [0.60, 0.61, 0.62])).winners
    assert words.startswith("prge fp32 is the most accurate after 10.0\u00a0s of steps: 0.810, 20.0 points ahead")
    (words,) = only_race(contender("fp32", [0.80, 0.70, 0.90]), contender("nf4", [0.70, 0.80, 0.75])).winners
    assert "can't be told" in words and "overlap" in words


def test_front_holds_whom_no_other_beats_in_accuracy_energy_and_memory() -> None:
    def contender(quant: str, accuracy: float, mj: float, kib: int | None) -> list[Training]:
        return [made_up([(0, 0.5), (10, accuracy)], quant=quant, seed=7, step_mj=mj, peak_kib=kib)]

    race = only_race(
        contender("fp32", 0.9, 100.0, 500),
        contender("fp16", 0.9, 100.0, 300),
        contender("int8", 0.8, 50.0, 200),
        contender("nf4", 0.7, 60.0, 200),
        contender("bf16", 0.99, 1.0, None),
    )
    front = {one.setting: one.outcome.in_front for one in race.contenders}
    assert race.cost_quantity == "energy_mj"
    assert front == {"fp32": False, "fp16": True, "int8": True, "nf4": False, "bf16": False}


def test_front_is_over_seconds_and_says_why_if_energy_is_unavailable() -> None:
    race = only_race([made_up(reaching(20))], [made_up(reaching(20), quant="nf4", step_s=2.0)])
    assert race.cost_quantity == "seconds" and "power sensor" in race.why_no_energy
    assert [one.outcome.in_front for one in race.contenders] == [True, False]


def test_there_is_a_race_for_each_device_with_several_contenders() -> None:
    pair = [made_up(reaching(20), quant=quant, device=device) for device in ("a", "b") for quant in ("fp32", "nf4")]
    alone = [made_up(reaching(20), device="c", seed=seed) for seed in SEEDS]
    assert [race.device for race in races([*pair, *alone])] == ["a", "b"]


def test_contenders_are_named_by_what_differs() -> None:
    trainings = [made_up([], seed=q, workload={"q": q}) for q in (1, 4)]
    assert list(contender_names(trainings).values()) == ["prge fp32 q=1", "prge fp32 q=4"]


def test_contenders_of_one_method_and_setting_each_have_their_own_seeds_and_pace() -> None:
    ways: list[dict[str, Json]] = [
        {"lr": 0.001},
        {"lr": 1e-5},
        {"schedule": "linear", "lr": 0.001},
        {"inner_parallel": False},
    ]
    race = only_race(
        *(
            [made_up(reaching(step), seed=seed, workload=way) for seed in SEEDS]
            for step, way in zip((20, 40, 60, 80), ways, strict=True)
        )
    )
    names = [
        "prge fp32 lr=0.001",
        "prge fp32 lr=1e-05",
        "prge fp32 lr=0.001 schedule=linear",
        "prge fp32 inner_parallel=off",
    ]
    assert [(one.name, tuple(one.seeds)) for one in race.contenders] == [(name, SEEDS) for name in names]
    assert [one.document()["name"] for one in race.contenders] == names


def test_a_contender_that_makes_fewer_steps_sets_the_budget_in_seconds_not_in_steps() -> None:
    few = [
        made_up(reaching(10, last=20), seed=seed, step_s=3.0, plan={"steps": 20}, workload={"steps": 20})
        for seed in SEEDS
    ]
    many = [made_up(reaching(70), seed=seed, plan={"steps": 100}, workload={"steps": 100}) for seed in SEEDS]
    race = only_race(few, many)
    assert race.budget == Budget("seconds", 60.0, given=False)
    assert [known(one.quality.accuracy).value for one in race.contenders] == pytest.approx([0.8, 0.5])
    (winner,) = race.winners
    assert winner.startswith("prge fp32 steps=20 is the most accurate after 60.0\u00a0s of steps: 0.800, 30.0 points")
