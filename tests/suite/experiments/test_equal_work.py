"""Plans whose contenders do equal work, parts on the user's task, and the check of gradients as a part of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from suite import checks
from suite.checks import GradientQuality
from suite.display import Display
from suite.experiments.answers.precision import GradientNoise
from suite.experiments.experiment import Bench, planned
from suite.experiments.kept import read_own
from suite.experiments.plan import PlannedExperiment, read_plan
from suite.home import Home
from suite.planning.plan import Plan


def _plan(tmp_path: Path, train: str) -> PlannedExperiment:
    version = f"{{minutes: 1, parts: {{a: {{train: {train}}}}}}}"
    path = tmp_path / "made.yaml"
    path.write_text(f"question: Is it so?\nfull: {version}\nquick: {version}\n")
    return read_plan(path, quick=False)


OPTIONS = "options: {model: tiny, T: 32, task: reviews}"


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("precision", "curves"),
        ("estimators", "race"),
        ("generalization", "short rows"),
        ("generalization", "code"),
        ("generalization", "your task"),
    ],
)
def test_contenders_of_a_part_do_the_same_forward_work(name: str, part: str, quick: bool) -> None:
    plans = planned(name, quick=quick).training_plans(part, ("local",), None)
    work = {each.steps * next(each.plan.workloads(answers=1)).forward_tokens for each in plans}
    assert len(work) == 1
    assert all(each.steps % each.eval_every == 0 for each in plans)


def test_steps_follow_from_the_forward_passes_of_each_method(tmp_path: Path) -> None:
    contenders = '["prge q=4 b=2", "mezo-lora-fa b=2", "fzoo q=3 b=2", "mezo-svrg q=2 b=2", "fo-lora-fa b=2"]'
    found = _plan(tmp_path, f"{{contenders: {contenders}, forward_tokens: 6144, evaluations: 2, {OPTIONS}}}")
    plans = found.training_plans("a", ("local",), None)
    assert [(each.plan.method, each.steps, each.eval_every) for each in plans[:5]] == [
        ("prge", 12, 6),
        ("mezo-lora-fa", 48, 24),
        ("fzoo", 24, 12),
        ("mezo-svrg", 12, 6),
        ("fo-lora-fa", 32, 16),
    ]


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (
            f'{{contenders: ["prge q=4 b=2", "fo-lora-fa b=2"], forward_tokens: 1024, {OPTIONS}}}',
            'made.yaml:2: .*"fo-lora-fa b=2": 1024 forward tokens in 1 equal stretches are not a whole number of its '
            "steps of 192: choose another q or b, or a multiple of 192",
        ),
        (
            f'{{contenders: ["prge q=4 b=2", "fzoo q=7 b=2"], forward_tokens: 1536, evaluations: 2, {OPTIONS}}}',
            "multiple of 1024",
        ),
        (f'{{contenders: ["prge total=4", "fzoo q=7 b=2"], forward_tokens: 1024, {OPTIONS}}}', "give q and b."),
    ],
)
def test_work_that_does_not_add_up_is_refused_with_its_line(train: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        _plan(tmp_path, train).training_plans("a", ("local",), None)


def test_the_user_s_task_goes_into_the_part_that_takes_it() -> None:
    found = planned("generalization", quick=True).on_task("mine.csv", "sst2")
    plans = found.training_plans("your task", ("local",), None)
    assert {(each.plan.task, each.plan.template) for each in plans} == {("mine.csv", "sst2")}
    assert "your task" not in planned("generalization", quick=True).on_task(None, None).parts


@pytest.mark.parametrize(
    ("name", "task", "template", "sentence"),
    [
        ("precision", "mine.csv", None, "precision has tasks of its own: leave out --task"),
        ("generalization", None, "sst2", "needs --task with --template"),
    ],
)
def test_a_task_that_no_part_takes_is_refused(name: str, task: str | None, template: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        planned(name, quick=True).on_task(task, template)


def test_gradients_are_checked_a_setting_at_a_time_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost device costs the settings after it nothing; going on checks those without a result alone."""
    calls: list[tuple[str, float]] = []
    lost = {"int8-dynamic"}

    def check(plan: Plan, sizes: list[float], *_given: Any) -> Iterator[GradientQuality]:
        (quant,), (eps,) = plan.quants, sizes
        calls.append((quant, eps))
        if quant in lost:
            raise DeviceLost("the link is down")
        yield GradientQuality(quant, eps, 4, 0.9, 0.95, 0.3, 1e-3)

    monkeypatch.setattr(checks, "check_gradients", check)
    entry = DeviceEntry(name="local", kind="local", transport="local", workdir="device")
    bench = Bench(Inventory(tmp_path, {"local": entry}, {}), Home(tmp_path), Display(), ())
    plan = Plan(("local",), model="tiny", quants=("fp32", "int8-dynamic", "nf4"), T=32)
    work, begun = GradientNoise(plan, 4, tmp_path / "noise-local.json"), list[str]()
    assert not work.carry_out(bench, "", begun.append)
    assert begun == ["noise-local"]
    assert calls == [("fp32", 0.01), ("int8-dynamic", 0.03), ("nf4", 0.01)]
    found = read_own(work.path)
    assert isinstance(found, dict)
    assert found["int8-dynamic"] == {"reason": "the link is down"}
    assert found["nf4"]["correlation"] == 0.9
    calls.clear()
    lost.clear()
    assert work.carry_out(bench, "noise-local", begun.append)
    assert calls == [("int8-dynamic", 0.03)]
