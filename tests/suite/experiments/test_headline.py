"""`headline` on made-up measurements whose verdicts are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reports.model.experiment import Answer
from reports.model.measurement import Measurement
from reports.model.profile import FROZEN
from reports.model.training import Training
from suite.experiments.answers.headline import answer
from tests.support.reports.training_fixtures import made_up
from tests.support.suite.made_material import made_material, made_measurement, made_profile

SHAPE: dict[str, Any] = {"q": 1, "b": 1, "T": 16}
PROFILE = made_profile(
    "jetson", {"fp16": {FROZEN: 80.0, "attention": 20.0}, "nf4": {FROZEN: 50.0, "dequantization": 50.0}}
)


def around(level: float) -> list[float]:
    return [level, 1.01 * level, 0.99 * level]


def answer_of(steps: Sequence[Measurement] = (), trainings: Sequence[Training] = ()) -> Answer:
    material = made_material(
        "headline",
        measurements={"steps": steps},
        trainings={"trainings": trainings},
        profiles={"where, jetson": PROFILE},
    )
    return answer(material, "jetson")


def claim(found: Answer, start: str) -> dict[str, Any]:
    """The row of the claim whose words start so."""
    (table,) = (one for one in found.evidence if one.title == "The claims")
    (row,) = (row for row in table.rows if str(row[0]).startswith(start))
    return dict(zip(table.heads, row, strict=True))


def inner(quant: str, on: float, off: float) -> list[Measurement]:
    both = made_measurement(around(on), quant=quant, **SHAPE)
    return [both, made_measurement(around(off), quant=quant, inner_parallel=False, **SHAPE)]


def test_the_inner_loop_agrees_if_its_best_setting_gets_to_two() -> None:
    found = answer_of([*inner("fp16", 100, 110), *inner("nf4", 100, 200)])
    assert "+ and - side by side make a step 2.00 times as fast at best" in found.sentence
    row = claim(found, "+ and - side by side")
    assert (row["verdict"], row["in"]) == ("agrees", "prge nf4 q=1 b=1 T=16")
    assert row["this device"] == pytest.approx(2.0)
    assert row["from"] < 2 < row["to"]
    assert row["command"].startswith("suite run --device jetson --model smollm2-135m --method prge --quant nf4 -q 1")
    assert row["command"].endswith("--inner off")


def test_an_inner_loop_below_the_claim_is_explained_by_the_profile_of_its_setting() -> None:
    found = answer_of(inner("fp16", 100, 130))
    row = claim(found, "+ and - side by side")
    assert row["verdict"] == "does not"
    assert "80 % are products with frozen weights" in row["why"] and "attention" in row["why"]
    assert "inner loop 1.30\u00d7" in found.sentence


def test_too_few_sessions_cannot_tell() -> None:
    both = made_measurement([100.0], **SHAPE)
    row = claim(answer_of([both, made_measurement([250.0], inner_parallel=False, **SHAPE)]), "+ and - side by side")
    assert row["verdict"] == "can't be told" and "1 sessions" in row["why"]


def test_times_of_an_emulated_device_tell_nothing() -> None:
    both = made_measurement(around(100), emulated=True, **SHAPE)
    off = made_measurement(around(300), emulated=True, inner_parallel=False, **SHAPE)
    assert claim(answer_of([both, off]), "+ and - side by side")["verdict"] == "can't be told"


@pytest.mark.parametrize(("ms", "word"), [(100.0, "agrees"), (150.0, "does not")])
def test_more_queries_at_equal_rows_are_weighed_against_one_query(ms: float, word: str) -> None:
    steps = [made_measurement(around(100.0), q=1, b=16), made_measurement(around(ms), q=4, b=4)]
    assert claim(answer_of(steps), "at equal q * b")["verdict"] == word


@pytest.mark.parametrize(("ms", "word"), [(430.0, "agrees"), (900.0, "agrees"), (200.0, "does not")])
def test_all_weights_are_weighed_at_the_same_rows(ms: float, word: str) -> None:
    rival = made_measurement(around(ms), method="mezo-full", q=1, b=16)
    other_rows = made_measurement(around(1.0), q=4, b=2)
    row = claim(answer_of([rival, made_measurement(around(100.0)), other_rows]), "a step is up to 4.3 times")
    assert (row["verdict"], row["in"]) == (word, "prge fp32 q=4 b=4 T=64")


def test_memory_is_weighed_against_adapters_by_backpropagation_and_an_estimate_of_all_weights() -> None:
    rival = made_measurement(method="fo-lora-fa", q=1, b=16, peaks_kib=600_000.0)
    found = answer_of([made_measurement(peaks_kib=500_000.0), rival])
    assert claim(found, "a step needs less memory than backpropagation")["this device"] == pytest.approx(1.2)
    # Weights and gradients of 400 MB each.
    row = claim(found, "a step needs less memory than just weights and gradients")
    assert row["this device"] == pytest.approx(800e6 / 1024 / 500_000)
    assert row["verdict"] == "agrees"


def test_more_memory_than_backpropagation_is_explained_by_the_weights() -> None:
    rival = made_measurement(method="fo-lora-fa", q=1, b=16, peaks_kib=400_000.0)
    row = claim(answer_of([made_measurement(peaks_kib=500_000.0), rival]), "a step needs less memory than backprop")
    assert row["verdict"] == "does not"
    assert row["why"] == "weights are 78 % of its peak"


def test_quantized_steps_are_weighed_against_fp16() -> None:
    steps = [
        made_measurement(around(100.0), quant="fp16", peaks_kib=300_000.0),
        made_measurement(around(150.0), quant="nf4", peaks_kib=100_000.0),
    ]
    found = answer_of(steps)
    assert claim(found, "a step in nf4 is as fast")["verdict"] == "does not"
    assert "50 % decode" in claim(found, "a step in nf4 is as fast")["why"]
    assert claim(found, "a step in nf4 needs less")["verdict"] == "agrees"
    assert claim(found, "a step in int8 needs less")["verdict"] == "can't be told"


def test_one_step_with_wrong_losses_is_enough_against_the_engine() -> None:
    good = made_measurement()
    assert claim(answer_of([good]), "the program loses no accuracy")["verdict"] == "agrees"
    off = made_measurement(error=0.2, quant="int8")
    assert claim(answer_of([good, off]), "the program loses no accuracy")["verdict"] == "does not"
    reason = "none of 3 sessions is valid: a loss of step 1 is off the reference by 2, 0.1 is allowed"
    refused = made_measurement([], status="invalid", reason=reason, error=None, quant="nf4")
    assert claim(answer_of([good, refused]), "the program loses no accuracy")["in"] == "prge nf4 q=4 b=4 T=64"


def trainings_of(q: int, ends: Sequence[float]) -> list[Training]:
    return [
        made_up([(0, 0.5), (200, end)], seed=seed, workload={"q": q, "b": 16 // q})
        for seed, end in zip((7, 8, 9), ends, strict=True)
    ]


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        ((0.70, 0.71, 0.72), "agrees"),
        ((0.60, 0.61, 0.62), "does not"),
        ((0.50, 0.71, 0.85), "can't be told"),
    ],
)
def test_queries_are_weighed_by_seeds_at_equal_work(ends: tuple[float, ...], word: str) -> None:
    found = answer_of(trainings=[*trainings_of(1, (0.70, 0.71, 0.72)), *trainings_of(4, ends)])
    assert claim(found, "q = 4 is as accurate")["verdict"] == word


def test_trainings_that_learned_nothing_cannot_tell_who_learns_as_well() -> None:
    row = claim(
        answer_of(trainings=[*trainings_of(1, (0.5, 0.51, 0.49)), *trainings_of(4, (0.5, 0.51, 0.49))]),
        "q = 4 is as accurate",
    )
    assert row["verdict"] == "can't be told" and "untrained" in row["why"]


def test_nothing_measured_leaves_every_claim_open_and_draws_nothing() -> None:
    found = answer_of()
    assert "0 of" in found.sentence and "it can't be told" in found.sentence
    assert found.picture is None
    assert claim(found, "q = 16 is as accurate")["verdict"] == "can't be told"


def test_the_picture_has_each_claim_as_a_share_of_what_is_claimed() -> None:
    found = answer_of(inner("nf4", 100, 200))
    assert found.picture is not None
    shares = {name: y for one in found.picture.curves for name, y in zip(one.x, one.y, strict=True)}
    assert shares["inner loop"] == pytest.approx(1.0)
