"""What a busy device and an interruption cost, on made-up trainings whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from foundation.unavailable import Unavailable
from reports.model.race import Estimate, Race, Robustness
from reports.model.reading import Interval
from reports.model.training import CONDITIONS, DISTURBED, Training, steps_lost
from suite.results.race import races
from suite.results.race_answers import robustness_sentence, with_lost_steps
from tests.support.reports.training_fixtures import made_up

CURVE = [(at, 0.8 if at >= 60 else 0.5) for at in range(0, 101, 20)]
"""Segments of 20 steps: the one in the middle of 100 steps goes from 40 to 60, of which 10 are made twice."""


def trained(step_s: float, seed: int = 7, disturbed: bool = False, method: str = "prge", **more: Any) -> Training:
    plan = {"steps": 100, "disturbed": disturbed} | ({"target": more.pop("target")} if "target" in more else {})
    workload = {CONDITIONS: DISTURBED} if disturbed else {}
    one = made_up(CURVE, method=method, seed=seed, step_s=step_s, plan=plan, workload=workload, **more)
    return replace(one, training_id=f"{one.training_id}-{disturbed}")


def race_of(pairs: Sequence[tuple[float, float]], **more: Any) -> Race:
    """One in which steps of prge take these seconds, without and with a busy device, one pair for each seed."""
    own = [
        trained(step_s, seed, disturbed, **more)
        for seed, pair in enumerate(pairs, 7)
        for disturbed, step_s in zip((False, True), pair, strict=True)
    ]
    (found,) = races([*own, trained(1.0, method="mezo-lora-fa", **more)])
    return found


def only(found: Race) -> Robustness:
    (one,) = found.robustness
    return one


def known(found: Estimate | Unavailable) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


@pytest.mark.parametrize(("first", "end", "lost"), [(40, 60, 10), (50, 51, 1), (50, 53, 2), (0, 50, 0), (51, 100, 0)])
def test_the_first_half_of_the_process_in_the_middle_is_lost(first: int, end: int, lost: int) -> None:
    assert steps_lost(100, first, end) == lost


def test_steps_that_were_made_twice_count_twice() -> None:
    one = with_lost_steps(trained(2.0, disturbed=True, step_mj=5.0))
    assert [one.seconds_at(step) for step in (40, 45, 60, 100)] == [80.0, 100.0, 140.0, 220.0]
    assert [one.energy_at(step) for step in (40, 60, 100)] == [200.0, 350.0, 550.0]
    assert one.seconds == 220.0


def test_disturbed_trainings_are_no_contenders_and_growth_is_that_of_pairs() -> None:
    found = race_of([(1.0, 2.0), (1.5, 2.7), (0.8, 2.0)], step_mj=5.0)
    assert [one.name for one in found.contenders] == ["prge fp32", "mezo-lora-fa fp32"]
    one, factors = only(found), [1.1 * factor for factor in (2.0, 1.8, 2.5)]
    logs = [math.log(factor) for factor in factors]
    low, high = stats.t.interval(0.95, 2, loc=sum(logs) / 3, scale=stats.sem(logs))
    seconds = known(one.seconds)
    assert (one.name, one.same_course, list(one.remarks)) == ("prge fp32", True, [])
    assert seconds.value == pytest.approx(stats.gmean(factors))
    assert isinstance(seconds.interval, Interval)
    assert (seconds.interval.low, seconds.interval.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert known(one.energy).value == pytest.approx(1.1)
    assert found.document()["robustness"] == [one.document()]


def test_energy_is_compared_where_processes_of_both_ended() -> None:
    """Under a budget their last processes end at steps of their own: of 40 steps here both are known."""
    quiet, twin = trained(1.0, step_mj=5.0), trained(2.0, disturbed=True, step_mj=5.0)
    first, second, *later = quiet.segments
    whole = replace(later[0], energy_mj=300.0, curve=tuple(point for each in later for point in each.curve))
    ends = replace(quiet, segments=(first, second, whole)), replace(twin, segments=twin.segments[:4])
    (found,) = races([*ends, trained(1.0, method="mezo-lora-fa", step_mj=5.0)])
    assert known(only(found).energy).value == 1.0


def test_costs_are_compared_up_to_the_target() -> None:
    """80 steps count if it is reached after 60, of which 10 were made twice."""
    one = only(race_of([(1.0, 2.0)], target=0.8))
    assert known(one.seconds).value == pytest.approx(2.0 * 70 / 60)


def test_a_seed_that_did_not_reach_the_target_is_named() -> None:
    one = only(race_of([(1.0, 2.0)], target=0.9))
    assert isinstance(one.seconds, Unavailable)
    assert one.remarks == ["seed 7 did not reach 0.9 after a step in both trainings"]


def test_a_seed_that_was_not_interrupted_is_named() -> None:
    """Its target was reached before the middle: nothing was made twice."""
    quiet, twin = trained(1.0), trained(2.0, disturbed=True)
    short = [replace(one, segments=one.segments[:2]) for one in (quiet, twin)]
    (found,) = races([*short, trained(1.0, method="mezo-lora-fa")])
    one = only(found)
    assert known(one.seconds).value == pytest.approx(2.0)
    assert one.remarks == ["seed 7 ended after 40 of 100 steps, before it was to be interrupted"]
    assert robustness_sentence(one, emulated=False).endswith(f"each step's loss stays the same; {one.remarks[0]}.")


def test_accuracy_is_that_under_the_budget_of_the_quiet_trainings() -> None:
    """They take 100 s; the disturbed one had 50 steps by then, and was evaluated after 40."""
    one = only(race_of([(1.0, 2.0)]))
    assert known(one.accuracy).value == pytest.approx(0.5 - 0.8)


def test_a_loss_that_differs_is_named_with_its_step() -> None:
    quiet, twin = trained(1.0), trained(1.0, disturbed=True)
    segments = list(twin.segments)
    curve = list(segments[1].curve)
    curve[4] = (curve[4][0], curve[4][1] * (1 + 1e-7))
    segments[1] = replace(segments[1], curve=tuple(curve))
    found = races([quiet, replace(twin, segments=tuple(segments)), trained(1.0, method="mezo-lora-fa")])
    one = only(found[0])
    assert not one.same_course
    assert one.remarks == ["seed 7 left the trajectory of the quiet training at step 25"]
    assert "left the trajectory" in robustness_sentence(one, emulated=False)


def test_the_sentence_has_the_growth_or_says_why_not() -> None:
    one = only(race_of([(1.0, 2.0), (1.0, 2.0), (1.0, 2.1)]))
    words = robustness_sentence(one, emulated=False)
    assert words.startswith("prge fp32 with a busy device and an interruption: 2.24\u00d7 (")
    assert words.endswith("an accuracy -0.300 under the same budget; each step's loss stays the same.")
    assert "can't be told, as the device is emulated" in robustness_sentence(one, emulated=True)


def test_contenders_that_differ_in_their_learning_rate_are_each_compared_with_their_own_twin() -> None:
    found = [
        made_up(CURVE, step_s=step_s, plan={"steps": 100, "disturbed": bool(how)}, workload={"lr": lr, **how})
        for lr, pace in ((0.001, 2.0), (0.01, 4.0))
        for step_s, how in ((1.0, {}), (pace, {CONDITIONS: DISTURBED}))
    ]
    (race,) = races(found)
    assert [one.name for one in race.robustness] == ["prge fp32 lr=0.001", "prge fp32 lr=0.01"]
    slower = [known(one.seconds).value for one in race.robustness]
    assert slower == pytest.approx([2.0 * 1.1, 4.0 * 1.1])
