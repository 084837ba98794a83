"""`fine-tune` on made-up trainings and steps whose costs are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from foundation.unavailable import Unavailable
from reports.model.experiment import Answer
from reports.model.race import Estimate
from reports.model.reading import Interval
from reports.model.training import Training
from suite.experiments.answers.fine_tune import answer, times_step
from tests.support.reports.training_fixtures import made_up
from tests.support.suite.made_material import made_material, made_measurement

SEEDS = (7, 8, 9)
PLAN = {"target": 0.7, "plan": {"task": "movie-reviews"}}


def trainings_of(steps: Sequence[int], quant: str = "fp32", device: str = "jetson", **more: Any) -> list[Training]:
    """A training for each seed, which reaches the target after so many steps."""
    return [
        made_up([(0, 0.5), (step, 0.75)], seed=seed, quant=quant, device=device, plan=PLAN, **more)
        for seed, step in zip(SEEDS, steps, strict=False)
    ]


def answer_of(trainings: Sequence[Training], steps: Sequence[Any] = (), device: str = "jetson", **facts: Any) -> Answer:
    material = made_material(
        "fine-tune", measurements={"steps": steps}, trainings={"trainings": trainings}, facts={device: facts}
    )
    return answer(material, device)


def bill(found: Answer, contender: str = "prge fp32") -> dict[str, Any]:
    (table,) = (one for one in found.evidence if one.title.startswith("What each contender"))
    (row,) = (row for row in table.rows if row[0] == contender)
    return dict(zip(table.heads, row, strict=True))


def reasons(found: Answer) -> dict[tuple[Any, Any], Any]:
    return {
        (row[0], row[1]): row[2]
        for one in found.evidence
        if one.title.startswith("What is unknown")
        for row in one.rows
    }


def test_a_training_with_a_power_sensor_and_a_battery_is_billed_in_full() -> None:
    found = answer_of(
        trainings_of([90, 100, 110], step_s=36.0, step_mj=3.6e6), battery_percent=80.0, battery_mwh=10_000.0
    )
    row = bill(found)
    assert row["steps"] == pytest.approx(99.66, abs=0.01)
    assert row["hours"] == pytest.approx(row["steps"] / 100)
    assert row["hours: from"] < row["hours"] < row["hours: to"]
    assert row["joules"] == pytest.approx(3600 * row["steps"])
    # Each step takes a watt-hour of the battery's ten.
    assert row["battery, %"] == pytest.approx(10 * row["steps"])
    assert row["peak, MiB"] == pytest.approx(200_000 / 1024)
    assert "smollm2-135m on movie-reviews to a held-out accuracy of 0.7" in found.sentence
    assert "it takes 59.8\u00a0min (" in found.sentence
    assert "with prge fp32" in found.sentence


def test_long_trainings_are_given_in_hours() -> None:
    assert "it takes 10.0\u00a0h (" in answer_of(trainings_of([1000] * 3, step_s=36.0)).sentence


def test_what_has_no_sensor_is_unknown_with_its_reason_and_never_a_number() -> None:
    found = answer_of(trainings_of([90, 100, 110]), [made_measurement()])
    row = bill(found)
    assert (row["joules"], row["battery, %"]) == (None, None)
    assert "no power sensor" in reasons(found)["prge fp32", "joules"]
    assert "energy unknown (the device has no power sensor" in found.sentence


def test_a_battery_without_its_size_and_no_battery_have_different_reasons() -> None:
    with_energy = trainings_of([90, 100, 110], step_mj=5.0)
    sized = reasons(answer_of(with_energy, battery_percent=80.0, battery_mwh=None))
    none = reasons(answer_of(with_energy, battery_percent=None))
    assert "report its full capacity" in sized["prge fp32", "battery, %"]
    assert "no battery" in none["prge fp32", "battery, %"]


def test_a_device_that_did_not_train_is_forecast_from_its_steps() -> None:
    lost = [made_up([], device="pi", seed=seed, status="failed", reason="lost", plan=PLAN) for seed in SEEDS]
    step = made_measurement([2000.0, 2020.0, 1980.0], device="pi", energies_mj=[500.0, 505.0, 495.0])
    found = answer_of([*trainings_of([100, 100, 100]), *lost], [step], "pi")
    row = bill(found)
    assert row["hours"] == pytest.approx(100 * 2 / 3600)
    assert row["joules"] == pytest.approx(50.0)
    assert "as trained on jetson" in str([one.rows for one in found.evidence])


def test_energy_of_a_step_stands_in_for_that_of_trainings() -> None:
    found = answer_of(trainings_of([100, 100, 100]), [made_measurement(energies_mj=[500.0, 505.0, 495.0])])
    assert bill(found)["joules"] == pytest.approx(50.0)


def test_seconds_of_an_emulated_device_are_no_measure() -> None:
    found = answer_of(trainings_of([100, 100, 100], emulated=True))
    assert bill(found)["hours"] is None
    assert "100 steps" in found.sentence


def test_trainings_that_never_got_there_are_named() -> None:
    short = [made_up([(0, 0.5), (50, 0.6)], seed=seed, plan=PLAN) for seed in SEEDS]
    found = answer_of(short)
    assert found.sentence.startswith("What it takes to fine-tune")
    assert "seed 7 reached 0.600 at most in 50 steps" in found.sentence


def test_finished_trainings_that_missed_it_are_not_forecast_from_another_device() -> None:
    short = [made_up([(0, 0.5), (50, 0.6)], device="pi", seed=seed, plan=PLAN) for seed in SEEDS]
    found = answer_of([*trainings_of([100, 100, 100]), *short], [made_measurement(device="pi")], "pi")
    assert bill(found)["hours"] is None


def test_the_fastest_answers_and_the_one_with_the_least_memory_is_named_beside() -> None:
    fast, small = trainings_of([50] * 3, peak_kib=600_000), trainings_of([90] * 3, quant="int8", peak_kib=150_000)
    sentence = answer_of([*fast, *small]).sentence
    assert "with prge fp32" in sentence and "prge int8 needs the least memory" in sentence


def test_a_contender_with_a_seed_that_missed_it_is_behind_those_that_all_got_there() -> None:
    partly = [*trainings_of([50, 50]), made_up([(0, 0.5), (60, 0.6)], seed=9, plan=PLAN)]
    assert "with prge int8" in answer_of([*partly, *trainings_of([90] * 3, quant="int8")]).sentence


def test_steps_times_a_step_has_the_products_of_both_ends() -> None:
    steps = Estimate(100.0, Interval(90.0, 110.0), 95.0, 105.0, 3)
    found = times_step(steps, [2.0, 2.0, 2.0])
    assert isinstance(found, Estimate) and isinstance(found.interval, Interval)
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx((200.0, 180.0, 220.0))
    assert times_step(steps, Unavailable("no sensor")) == Unavailable("no sensor")
    alone = times_step(steps, [2.0])
    assert isinstance(alone, Estimate) and isinstance(alone.interval, Unavailable)


def test_the_picture_keeps_the_last_accuracy_of_seeds_that_ended() -> None:
    own = [
        made_up([(0, 0.5), (10, 0.8)], seed=7, plan=PLAN),
        made_up([(0, 0.5), (10, 0.6), (20, 0.7)], seed=8, plan=PLAN),
    ]
    picture = answer_of(own).picture
    assert picture is not None
    assert picture.curves[0].y == pytest.approx((0.5, 0.7, 0.75))


def test_no_trainings_are_no_answer() -> None:
    assert "can't be told" in answer_of([]).sentence
