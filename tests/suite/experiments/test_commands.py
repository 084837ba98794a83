"""Commands that repeat what an experiment measured: read again, they are the same trainings and steps."""

from __future__ import annotations

import shlex
from typing import Any

from reports.model.training import Training
from suite.experiments.commands import race_command, run_command
from suite.training.plan import TrainingPlan
from suite.training.race_plans import plans_of_contenders
from tests.support.reports.training_fixtures import made_up
from tests.support.suite.made_material import made_measurement

CONTENDERS = (
    "prge quant=nf4 q=2 b=8 lr=0.007 schedule=cosine layers=0 inner=off",
    "fo-lora-fa quant=fp32 b=4 eval_every=5",
)
OF_RACE = {"steps": 40, "eval_every": 20, "examples": 24, "target": 0.6}


def plans(contenders: list[str], **adapters: Any) -> list[TrainingPlan]:
    return plans_of_contenders(("board",), contenders, 2, {"q": None, "model": "tiny", "T": 32, **adapters}, OF_RACE)


def training_of(plan: TrainingPlan) -> Training:
    (workload,) = plan.plan.workloads(1)
    return made_up(
        [(0, 0.5)],
        device="board",
        method=workload.method,
        quant=workload.quant,
        seed=plan.plan.seed,
        plan=plan.document(),
        workload={"model": "tiny", "q": workload.q, "b": workload.b, "T": workload.T},
    )


def options(command: str) -> dict[str, Any]:
    """The options of a command; `--contender` has a list."""
    words = shlex.split(command)[2:]
    found: dict[str, Any] = {"--contender": []}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "--contender":
            found[name].append(value)
        else:
            found[name] = value
    return found


def test_a_race_again_has_the_same_trainings() -> None:
    made = plans(list(CONTENDERS))
    found = options(race_command([training_of(plan) for plan in made]))
    assert plans(found.pop("--contender")) == made
    expected = {"--device": "board", "--model": "tiny", "-T": "32", "--seeds": "2", "--target": "0.6"}
    assert found == {**expected, "--examples": "24"}


def test_a_race_again_has_the_same_adapters() -> None:
    made = plans(list(CONTENDERS), rank=2, targets=("o_proj", "up_proj"))
    found = options(race_command([training_of(plan) for plan in made]))
    assert (found["--rank"], found["--targets"]) == ("2", "o_proj,up_proj")
    assert "--alpha" not in found


def test_a_run_again_has_the_same_step_of_the_model_that_was_given() -> None:
    one = made_measurement(quant="nf4", q=2, b=1, T=16, inner_parallel=False, outer_parallel=True, layers="3-5")
    assert run_command(one, "models/my model") == (
        "suite run --device jetson --model 'models/my model' --method prge --quant nf4 -q 2 -b 1 -T 16 --layers 3-5 "
        "--inner off --outer on"
    )


def test_without_trainings_there_is_no_command() -> None:
    assert race_command([]) == ""
