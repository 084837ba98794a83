"""What the answers of precision, estimators and generalization say of made-up trainings, steps and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from foundation.unavailable import Json
from reports.model.experiment import Answer, Experiment, Part
from reports.model.measurement import Measurement
from reports.model.reading import Interval
from reports.model.training import Training
from suite.experiments.answers import estimators, generalization, precision
from suite.experiments.material import Material
from tests.support.reports import report_fixtures
from tests.support.reports.training_fixtures import made_up
from tests.support.suite.made_material import made_measurement

SEEDS = (7, 8, 9)
Trainings = Mapping[str, Sequence[Training]]


@dataclass(frozen=True)
class _Made(Material):
    """Material that was never measured. Trainings by part, steps and noise of the one part that has them."""

    made: Trainings
    steps: Sequence[Measurement] = ()
    noise: Json = None

    def trainings(self, part: str, device: str | None = None) -> list[Training]:
        return [one for one in self.made.get(part, ()) if device in (None, one.device)]

    def measurements(self, part: str, device: str | None = None) -> list[Measurement]:
        del part
        return [one for one in self.steps if device in (None, one.device)]

    def own(self, part: str) -> Json:
        assert part == "noise, jetson"
        return self.noise


def _material(name: str, made: Trainings, *, emulated: bool = False, task: str | None = None, **more: Any) -> Material:
    found = Experiment(
        experiment_id="made",
        name=name,
        question="?",
        quick=True,
        devices=("jetson",),
        model=None,
        command=("suite",),
        started_at="2026-11-29T10:00:00+00:00",
        status="finished",
        emulated=("jetson",) if emulated else (),
        task=task,
    )
    nothing: Any = None
    return _Made(found, nothing, nothing, made, **more)


def _seeds(top: float, spread: float = 0.01, *, start: float = 0.5, **more: Any) -> list[Training]:
    """Three seeds that rise from `start` to about `top` in four steps."""
    middle = (start + top) / 2
    return [
        made_up([(0, start), (2, middle + shift), (4, top + shift)], seed=seed, **more)
        for seed, shift in zip(SEEDS, (-spread, 0.0, spread), strict=True)
    ]


def _tables(answer: Answer) -> dict[str, list[dict[str, Any]]]:
    return {table.title: [dict(zip(table.heads, row, strict=True)) for row in table.rows] for table in answer.evidence}


def _step(quant: str, slower: float) -> Measurement:
    found = report_fixtures.measurement("jetson", slower, quant, np.random.default_rng(1), {}, 5, 1.0)
    return Measurement.from_document(found)


NOISE: Json = {
    "fp32": {"eps": 0.01, "perturbations": 32, "correlation": 0.999, "own_correlation": 0.999, "noise": 0.02},
    "int8": {"eps": 0.01, "perturbations": 32, "correlation": 0.3, "own_correlation": 0.4, "noise": 1.1},
    "nf4": {"reason": "the device was lost"},
}


def _precision(**more: Any) -> Answer:
    made = [*_seeds(0.8), *_seeds(0.805, quant="int8"), *_seeds(0.6, quant="nf4")]
    steps = [_step("fp32", 1.0), _step("int8", 1.0), _step("nf4", 1.0)]
    return precision.answer(_material("precision", {"curves": made}, steps=steps, noise=NOISE, **more), "jetson")


def test_precision_separates_what_is_behind_from_what_is_undecided() -> None:
    answer = _precision()
    assert answer.sentence.startswith(
        "Against fp32 (accuracy 0.800), nf4 (0.600) is behind; whether int8 differs can't be told (intervals overlap); "
    )
    assert "projected gradients are mostly noise in int8 (0.30), by" in answer.sentence
    assert answer.missing == ("noise, nf4: the device was lost",)


@pytest.mark.parametrize(
    ("correlation", "count", "words"),
    [
        (0.6, 32, "whether projected gradients are mostly noise in int8 can't be told."),
        (0.6, 3, "whether projected gradients are mostly noise in int8 can't be told."),
        (0.6, 900, "projected gradients are mostly noise in int8 (0.60), by"),
        (0.95, 32, "projected gradients correlate with exact ones by at least 0.95 (int8)"),
    ],
)
def test_noise_is_reported_only_as_far_as_its_interval_goes(correlation: float, count: int, words: str) -> None:
    noise: Json = {
        "fp32": {"correlation": 0.999, "perturbations": 32},
        "int8": {"correlation": correlation, "perturbations": count},
    }
    answer = precision.answer(_material("precision", {"curves": _seeds(0.8)}, noise=noise), "jetson")
    assert words in answer.sentence


def test_the_interval_of_a_correlation_is_fisher_s() -> None:
    found = precision.correlation_interval(0.5, 28)
    assert isinstance(found, Interval)
    assert found.low == pytest.approx(0.156, abs=1e-3)
    assert found.high == pytest.approx(0.736, abs=1e-3)


def test_precision_s_evidence_has_convergence_steps_and_noise() -> None:
    training, steps, noise = _tables(_precision()).values()
    assert [row["seeds that got halfway"] for row in training] == [3, 3, 0]
    assert 2 < training[0]["steps to halfway"] < 4
    assert training[2]["steps to halfway"] is None
    assert [row["setting"] for row in steps] == ["fp32", "int8", "nf4"]
    assert steps[0]["times as fast as fp32"] == 1.0
    assert [row["setting"] for row in noise] == ["fp32", "int8"]


def test_precision_s_picture_has_a_point_for_each_setting_with_its_interval() -> None:
    picture = _precision().picture
    assert picture is not None
    assert [(curve.name, curve.look, len(curve.x), len(curve.low)) for curve in picture.curves] == [
        (name, "points", 1, 1) for name in ("fp32", "int8", "nf4")
    ]


def test_times_of_an_emulated_device_are_no_measure() -> None:
    sentence = _precision(emulated=True).sentence
    assert "the device is emulated, so its times are not measurements" in sentence
    assert "fastest" not in sentence


def test_precision_without_anything_says_so() -> None:
    answer = precision.answer(_material("precision", {}), "jetson")
    assert "no training finished" in answer.sentence.lower()
    assert answer.picture is None


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    made = [_seeds(0.8)[0], _seeds(0.6, quant="nf4")[0]]
    answer = precision.answer(_material("precision", {"curves": made}), "jetson")
    assert "whether nf4 differs can't be told (of 1 seed, and an interval needs 3)" in answer.sentence


@pytest.mark.parametrize(
    ("slower", "words"),
    [
        (0.5, "int8 is the fastest, "),
        (2.0, "no setting's steps are faster than fp32's"),
    ],
)
def test_the_fastest_setting_is_named(slower: float, words: str) -> None:
    steps = [_step("fp32", 1.0), replace(_step("fp32", slower), workload={"quant": "int8"})]
    assert words in precision.answer(_material("precision", {}, steps=steps), "jetson").sentence


def test_a_single_session_does_not_tell_the_fastest() -> None:
    slow, fast = _step("fp32", 1.0), replace(_step("fp32", 0.5), workload={"quant": "int8"})
    unknown = replace(slow, latency=replace(slow.latency, sessions_ms=()))
    sentence = precision.answer(_material("precision", {}, steps=[unknown, fast]), "jetson").sentence
    assert "whether a setting's steps are faster than fp32's can't be told (0 sessions" in sentence


def test_a_session_that_does_not_count_changes_nothing() -> None:
    slow, fast = _step("fp32", 1.0), replace(_step("fp32", 0.5), workload={"quant": "int8"})
    invalid = replace(slow.sessions[0], status="invalid", median_ms=1e6)
    with_invalid = replace(slow, sessions=(*slow.sessions, invalid))
    sentences = [
        precision.answer(_material("precision", {}, steps=[one, fast]), "jetson").sentence
        for one in (slow, with_invalid)
    ]
    assert "int8 is the fastest, " in sentences[0]
    assert sentences[0] == sentences[1]


def _estimators(*more: Training, **options: Any) -> Answer:
    made = [
        *_seeds(0.7, step_s=1.0, step_mj=2000.0),
        *_seeds(0.9, method="fo-lora-fa", step_s=2.0, step_mj=5000.0),
        *_seeds(0.6, method="mezo-lora-fa", step_s=0.5, step_mj=1000.0),
        *_seeds(0.705, method="fzoo", step_s=1.0, step_mj=2000.0),
        *more,
    ]
    return estimators.answer(_material("estimators", {"race": made}, **options), "jetson")


def test_estimators_are_compared_after_equal_work() -> None:
    answer = _estimators()
    assert answer.sentence == (
        "After 8,192 forward tokens each, against prge (accuracy 0.700), fo-lora-fa (0.900) is ahead; mezo-lora-fa "
        "(0.600) is behind; whether fzoo differs can't be told (intervals overlap); mezo-lora-fa takes the fewest "
        "seconds, 0.50 of prge's."
    )
    assert answer.missing == ()


def test_estimators_have_accuracy_over_tokens_seconds_and_joules() -> None:
    answer = _estimators()
    assert answer.picture is not None
    assert [curve.x for curve in answer.picture.curves] == [(0.0, 4096.0, 8192.0)] * 4
    end, way = _tables(answer).values()
    assert next((row["method"], row["seconds"], row["joules"]) for row in end) == ("prge", 4.0, pytest.approx(8.0))
    assert [(row["forward tokens"], row["seconds"], row["joules"]) for row in way[:3]] == [
        (0.0, 0.0, 0.0),
        (4096.0, 2.0, 4.0),
        (8192.0, 4.0, 8.0),
    ]


def test_a_contender_that_did_other_work_is_named() -> None:
    answer = _estimators(*_seeds(0.7, method="adazeta", forward_tokens=4096.0))
    assert any("adazeta did 16,384 forward tokens instead of 8,192" in words for words in answer.missing)


def test_a_contender_that_makes_the_steps_of_another_one_is_named() -> None:
    prge, same = _seeds(0.7), _seeds(0.7, method="adazeta")
    answer = estimators.answer(_material("estimators", {"race": [*prge, *same]}), "jetson")
    assert answer.missing == ("adazeta has the losses of prge at every evaluation: so far both make the same steps",)
    last = same[0].evaluations[-1]
    same[0] = replace(same[0], evaluations=(*same[0].evaluations[:-1], replace(last, loss=last.loss + 1e-9)))
    assert estimators.answer(_material("estimators", {"race": [*prge, *same]}), "jetson").missing == ()


def test_without_prge_nothing_is_compared() -> None:
    made = {"race": _seeds(0.7, method="fzoo")}
    answer = estimators.answer(_material("estimators", made), "jetson")
    assert answer.sentence.startswith("Methods can't be compared")


def _steps(T: int, *sessions_ms: float) -> Measurement:
    return made_measurement(sessions_ms, q=4, b=4, T=T)


STEPS = (_steps(1024, 64 * 300, 64 * 310, 64 * 305), _steps(64, 100, 103, 102), _steps(96, 150, 151, 152))


def _generalization(code: float = 0.7, steps: Sequence[Measurement] = STEPS, **options: Any) -> Answer:
    rows_of = {"code": {"T": 96}, "rows of 128": {"T": 1024}}
    made = {
        "short rows": [*_seeds(0.8), *_seeds(0.8, method="mezo-lora-fa", step_s=2.0)],
        "code": [
            *_seeds(code, 0.03, step_s=1.5, workload=rows_of["code"]),
            *_seeds(0.6, method="mezo-lora-fa", step_s=1.5, workload=rows_of["code"]),
        ],
        "rows of 128": [
            *_seeds(0.505, 0.02, step_s=3.0, peak_kib=409_600, workload=rows_of["rows of 128"]),
            *_seeds(0.5, method="mezo-lora-fa", step_s=9.0, workload=rows_of["rows of 128"]),
        ],
    }
    return generalization.answer(_material("generalization", made, steps=steps, **options), "jetson")


def test_generalization_names_where_accuracy_is_gained_and_what_it_costs() -> None:
    assert _generalization().sentence == (
        "P-RGE gains accuracy on short rows (+30 points) and code (+20 points), on rows of 128 it can't be told (the "
        "change's interval contains zero); a forward token takes up to 11.96 times (11.58 to 12.44) as long, on rows "
        "of 128, as on short rows; memory peaks at 400 MiB on rows of 128 and 195 on short rows."
    )


def test_a_tokens_time_is_that_of_steps_measured_in_turn() -> None:
    (table,) = (rows for title, rows in _tables(_generalization()).items() if title.startswith("Steps of prge"))
    assert [(row["T"], row["ms for 1,000 forward tokens"]) for row in table] == [
        (64, pytest.approx(1e3 * 102 / (32 * 64))),
        (96, pytest.approx(1e3 * 151 / (32 * 96))),
        (1024, pytest.approx(1e3 * 64 * 305 / (32 * 1024))),
    ]
    assert "longer on any task can't be told (no steps were measured)" in _generalization(steps=()).sentence
    alike = (_steps(64, 100, 103, 102), _steps(96, 150, 154, 152))
    assert "longer on any task can't be told;" in _generalization(steps=alike).sentence


def test_generalization_compares_with_mezo_task_by_task() -> None:
    speed = _tables(_generalization())["prge against mezo-lora-fa, same forward work"]
    assert [(row["task"], row["times as fast"]) for row in speed] == [
        ("short rows", pytest.approx(2.0)),
        ("code", pytest.approx(1.0)),
        ("rows of 128", pytest.approx(3.0)),
    ]


def test_a_task_of_the_user_s_is_missing_unless_it_was_named() -> None:
    assert _generalization().missing == (
        "your task: none was named: give one with --task FILE, and with --template if its columns need one",
    )
    assert _generalization(task="mine.csv").missing == ()


def test_an_accuracy_that_fell_is_reported() -> None:
    assert "loses accuracy on code (-20 points)" in _generalization(code=0.3).sentence


def test_trainings_of_another_device_and_unfinished_ones_are_left_out() -> None:
    other = [replace(one, device="pi", training_id=f"pi-{one.training_id}") for one in _seeds(0.1)]
    failed = made_up([(0, 0.5)], method="fzoo", status="failed", reason="it broke", seed=10)
    assert _estimators(*other, failed).sentence == _estimators().sentence


def test_a_reason_that_many_trainings_have_is_reported_once() -> None:
    lost = [replace(one, status="failed", reason="the device was lost") for one in _seeds(0.7)]
    broken = made_up([], method="fzoo", status="failed", reason="it broke")
    part = Part("race", "train", "partial", "made-1")
    material = _material("estimators", {"race": [*lost, broken]})
    material = replace(material, experiment=replace(material.experiment, parts=(part,)))
    assert material.missing("jetson") == (
        "race, 3 trainings: failed: the device was lost",
        "race, fzoo fp32, seed 7: failed: it broke",
    )
    assert material.missing("pi") == ()


def test_one_seed_and_one_session_tell_neither_accuracy_nor_time() -> None:
    made = {"short rows": _seeds(0.8)[:1], "code": _seeds(0.7, workload={"T": 96})[:1]}
    steps = (_steps(64, 100), _steps(96, 150))
    sentence = generalization.answer(_material("generalization", made, steps=steps), "jetson").sentence
    assert sentence.startswith("Whether P-RGE gains accuracy on short rows and code can't be told (of 1 seed, and")
    assert "whether a forward token takes longer on any task can't be told (" in sentence
