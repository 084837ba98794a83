"""A job with `profile`: every second step reports where its time goes, and computes what the others do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.runner import runner_programs as programs

LAYERS, FEATURES = 3, 64


class Head(nn.Module):
    """A product by the runner's own kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(FEATURES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [1, FEATURES] -> like x."""
        result: Tensor = torch.ops.prge.linear_frozen(x, self.get_buffer("weight"), [])
        return result


def linear_layers(features: int = FEATURES) -> nn.Module:
    return nn.Sequential(*(nn.Linear(features, features, bias=False) for _ in range(LAYERS)))


@pytest.fixture
def profiled(run, job, tmp_path):
    """Runs a module with a profile, by the delegate or without."""

    def profiled(module, partitioner=None, features=FEATURES):
        path = programs.export(module, (torch.zeros(1, features),), tmp_path / "module.pte", partitioner)
        inputs = [{"name": "x", "dtype": "float32", "shape": [1, features], "value": [1.0] * features}]
        return run(job | {"program": str(path), "inputs": inputs, "profile": True})

    return profiled


def test_a_profile_changes_no_result(run, job):
    outcome = run(job | {"profile": True})
    assert outcome.footer["cause"] == "completed"
    assert outcome.losses == run(job).losses
    assert len({tuple(losses) for losses in outcome.losses}) == 7
    assert outcome.events[-1] == {"event": "end", "lines": len(outcome.events) - 1}


def test_every_second_step_lists_its_calls_in_their_order(run, job):
    outcome = run(job | {"profile": True})
    steps = {step["index"]: step for step in outcome.of("step")}
    calls = outcome.of("call")
    assert sorted({call["step"] for call in calls}) == [1, 3, 5]
    for index in (1, 3, 5):
        of_step = [call for call in calls if call["step"] == index]
        numbers = [call["instruction"] for call in of_step]
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 2
        times = [time for call in of_step for time in (call["t0_ns"], call["t1_ns"])]
        assert times == sorted(times)
        assert steps[index]["t0_ns"] <= times[0] <= times[-1] <= steps[index]["t1_ns"]


def test_without_a_profile_there_are_no_calls(run, job):
    outcome = run(job | {"profile": False})
    assert outcome.of("call") == outcome.of("parts") == []


@pytest.mark.slow
def test_operators_of_a_delegate_have_names_and_times(profiled):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    outcome = profiled(linear_layers(), XnnpackPartitioner())
    (parts,) = outcome.of("parts")
    assert [name.partition(" (")[0] for name in parts["names"]] == ["Fully Connected"] * LAYERS
    assert len(set(parts["names"])) == LAYERS
    calls = [call for call in outcome.of("call") if call["instruction"] == parts["instruction"]]
    assert len(calls) == 3
    for call in calls:
        assert call["of_threads"] is False
        assert len(call["parts_ns"]) == LAYERS
        assert sum(call["parts_ns"]) <= call["t1_ns"] - call["t0_ns"]


@pytest.mark.slow
def test_kernels_report_their_parts(profiled, job):
    outcome = profiled(Head())
    (parts,) = outcome.of("parts")
    assert parts["names"] == ["product", "decode"]
    for call in outcome.of("call"):
        if call["instruction"] == parts["instruction"]:
            assert call["of_threads"] is True
            assert 0 < sum(call["parts_ns"]) <= job["threads"] * (call["t1_ns"] - call["t0_ns"])


@pytest.mark.slow
def test_the_program_that_is_profiled_shares_the_weights_that_a_delegate_packs(profiled):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    features = 2048
    load = profiled(linear_layers(features), XnnpackPartitioner(), features).of("load")[0]
    weights_kib = LAYERS * features * features * 4 / 1024
    assert load["rss_kib"] < weights_kib + 16 * 1024


@pytest.mark.parametrize(("change", "complaint"), [
    ({"profile": 1}, "job.profile must be true or false"),
    ({"profile": "yes"}, "job.profile must be true or false"),
    ({"profile": True, "shorter": ["a.pte"]}, "job.profile is for one program: leave out job.shorter"),
])  # fmt: skip
def test_a_wrong_profile_is_refused_by_name(run, job, change, complaint):
    outcome = run(job | change)
    assert (outcome.returncode, outcome.footer["stage"]) == (1, "job")
    assert complaint in outcome.footer["reason"]
