"""A step by backpropagation run eagerly, against torch's autograd and torch's optimizers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from tests.support.workloads.training_runs import FloatArray, Settings, reference_training, relative_error, some_batches
from workloads.export.program import eager_parts, make_program
from workloads.method import METHOD_TABLE
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.reference.eager import Batch, Reference
from workloads.workload import Workload

SGD = Workload("tiny", "fp32", q=1, b=2, T=16, rank=4, method="fo-lora-fa")
ADAM = replace(SGD, method="fo-lora-fa-adam")


def run(
    weights: ModelWeights, workload: Workload, batches: list[Batch], steps: int, lr: float
) -> tuple[FloatArray, FloatArray]:
    """Losses [steps, 1] and adapter [n] of the program's module."""
    step = make_program(workload, eager_parts(workload, weights.config, weights.state))
    losses = []
    with torch.no_grad():
        for index in range(steps):
            batch = batches[index % len(batches)]
            inputs = [torch.from_numpy(array) for array in (batch.tokens, batch.first, batch.labels)]
            key = torch.tensor([7, index])
            found, rows = step(*inputs, key, torch.tensor(lr), torch.tensor(0.0))
            labels = int((batch.labels >= 0).sum())
            assert rows.shape == (1, workload.b)
            assert float(rows.sum() / labels) == pytest.approx(float(found), rel=1e-6)
            losses.append(found.numpy().copy())
    return np.array(losses), step.get_buffer("adapter").numpy()


@pytest.mark.parametrize(
    ("workload", "lr"),
    [
        *((SGD, 0.1), (ADAM, 3e-3)),
        *((replace(SGD, answers=3, targets=("q_proj", "up_proj")), 0.1), (replace(SGD, quant="fp16"), 0.1)),
    ],
    ids=["SGD", "Adam", "three answer tokens", "fp16"],
)
def test_steps_are_those_of_torchs_optimizer(workload: Workload, lr: float, tiny: ModelWeights) -> None:
    batches = some_batches(workload, 2)
    if workload.answers > 1:
        batches[0].labels[1, 0] = -1
    expected = reference_training(tiny, workload, batches, 5, Settings(lr, 0.0))
    losses, adapter = run(tiny, workload, batches, 5, lr)
    np.testing.assert_allclose(losses, expected.losses, rtol=1e-5)
    assert losses[-1] < losses[0]
    assert relative_error(adapter, expected.adapter) < 1e-4


def test_losses_are_those_before_the_update(tiny: ModelWeights) -> None:
    (batch,) = some_batches(SGD, 1)
    losses, adapter = run(tiny, SGD, [batch], 1, 0.5)
    reference = Reference(SGD, tiny.config, tiny.state)
    assert losses[0] == pytest.approx(reference.loss(torch.zeros(adapter.size), batch), rel=1e-6)
    assert adapter.any()


def test_first_update_is_the_derivative_of_each_value(tiny: ModelWeights) -> None:
    (batch,) = some_batches(SGD, 1)
    _, adapter = run(tiny, SGD, [batch], 1, 1.0)
    expected = Reference(SGD, tiny.config, tiny.state, exact=True).gradient(batch)
    np.testing.assert_allclose(-adapter, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["fo-lora-fa", "fo-lora-fa-adam"])
@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_settings_without_a_way_back_are_refused_by_name(method: str, quant: str) -> None:
    known = METHOD_TABLE[method].settings
    assert known is not None
    if quant in known:
        Workload("tiny", quant, q=1, method=method)
        return
    with pytest.raises(
        UserError, match=f"{method} has no backward pass through the layers of {quant}: choose one of fp32"
    ):
        Workload("tiny", quant, q=1, method=method)


def test_a_step_costs_a_forward_pass_another_one_and_the_way_back() -> None:
    assert replace(SGD, b=3, T=8, answers=1).forward_tokens == 3 * 3 * 8
