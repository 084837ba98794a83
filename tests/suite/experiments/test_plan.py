"""Plan files of experiments: every one of them in both versions, for devices and a model that the command names."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from suite.display import Display
from suite.experiments import EXPERIMENTS
from suite.experiments.experiment import Bench, load_definition, planned
from suite.experiments.plan import read_plan
from suite.experiments.work import Measuring, Profiling, Training, planned_work
from suite.home import Home

DEVICES = ("local", "board")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    entries = {name: DeviceEntry(name=name, kind="local", transport="local", workdir="device") for name in DEVICES}
    return Bench(Inventory(tmp_path, entries, {}), Home(tmp_path), Display(), ())


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_planned_for_any_devices(name: str, quick: bool, bench: Bench) -> None:
    found = planned(name, quick=quick)
    assert found.question.endswith("?")
    assert callable(load_definition(name).answer)
    for each in planned_work(found, DEVICES, None, bench).values():
        if isinstance(each, Measuring):
            assert each.plan.devices == DEVICES
        if isinstance(each, Training):
            assert {one.plan.devices for one in each.plans} == {DEVICES}
        if isinstance(each, Profiling):
            assert len(each.plan.devices) == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_versions_are_of_the_tiny_model(name: str, bench: Bench) -> None:
    for each in planned_work(planned(name, quick=True), DEVICES, None, bench).values():
        if isinstance(each, Measuring):
            assert {plan.model for plan in each.plan.plans} == {"tiny"}


def _file(tmp_path: Path, parts: str) -> Path:
    version = f"{{minutes: 1, parts: {parts}}}"
    path = tmp_path / "made.yaml"
    path.write_text(f"question: Is it so?\nfull: {version}\nquick: {version}\n")
    return path


def test_a_model_of_the_command_takes_the_place_of_the_plan_s(tmp_path: Path, bench: Bench) -> None:
    parts = (
        "{a: {measure: {plans: {x: {models: [smollm2-135m, tinyllama-1.1b]}}}}, "
        'b: {train: {contenders: ["prge", "mezo-lora-fa"], seeds: 2, options: {steps: 5}}}, c: {profile: {q: 2}}}'
    )
    found = read_plan(_file(tmp_path, parts), quick=False)
    work = planned_work(found, ("local",), "tiny", bench)
    assert list(work) == ["a", "b", "c, local"]
    measuring, training, profiling = work.values()
    assert isinstance(measuring, Measuring)
    assert [plan.model for plan in measuring.plan.plans] == ["tiny"]
    assert isinstance(training, Training)
    assert [(one.plan.model, one.plan.method, one.steps) for one in training.plans] == [
        ("tiny", "prge", 5),
        ("tiny", "mezo-lora-fa", 5),
    ] * 2
    assert isinstance(profiling, Profiling)
    assert (profiling.plan.model, profiling.plan.q) == ("tiny", 2)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ("{a: {measure: {plans: {x: {qants: [fp32]}}}}}", "made.yaml:2: "),
        ("{a: {wait: 3}}", "made.yaml:2: "),
        ("{}", "made.yaml:2: "),
    ],
)
def test_what_is_wrong_in_a_plan_is_named_with_its_line(
    parts: str, sentence: str, tmp_path: Path, bench: Bench
) -> None:
    with pytest.raises(UserError, match=sentence):
        planned_work(read_plan(_file(tmp_path, parts), quick=False), ("local",), None, bench)


def test_an_unknown_experiment_is_named_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match="parallelism"):
        planned("paralelism", quick=True)
