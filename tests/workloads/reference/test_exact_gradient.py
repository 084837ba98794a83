"""The derivative by backpropagation, against difference quotients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.workloads.program_bounds import workload_of
from tests.support.workloads.training_runs import some_batches
from workloads.methods.noise import normal
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.reference.eager import Reference
from workloads.reference.late_steps import late_steps

EPS = 1e-3


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_derivative_along_a_perturbation_is_the_difference_quotient(quant: str, tiny: ModelWeights) -> None:
    """Extrapolated from two sizes (Richardson), so that what is left is float32's 1e-7 of a loss of 7, over 2e-3."""
    workload = replace(workload_of(quant), q=8)
    (batch,) = some_batches(workload, 1)
    reference = Reference(workload, tiny.config, tiny.state, exact=True)
    gradient = reference.gradient(batch).astype(np.float64)

    def quotient(eps: float) -> NDArray[np.float64]:
        losses = reference.untrained_losses(batch, 0, seed=7, eps=eps, on_progress=lambda _: None).astype(np.float64)
        found: NDArray[np.float64] = (losses[0] - losses[1]) / (2 * eps)
        return found

    expected = [gradient @ normal(7, 0, query, 0, gradient.size) for query in range(workload.q)]
    np.testing.assert_allclose((4 * quotient(EPS) - quotient(2 * EPS)) / 3, expected, atol=5e-3)


def test_a_setting_has_the_derivative_of_its_own_weights(tiny: ModelWeights) -> None:
    (batch,) = some_batches(workload_of("fp32"), 1)
    by_setting = {
        quant: Reference(workload_of(quant), tiny.config, tiny.state, exact=True).gradient(batch)
        for quant in ("fp32", "int8", "int8-dynamic", "nf4")
    }
    np.testing.assert_array_equal(by_setting["int8"], by_setting["int8-dynamic"])
    correlations = {name: np.corrcoef(found, by_setting["fp32"])[0, 1] for name, found in by_setting.items()}
    assert correlations["fp32"] > correlations["int8"] > 0.99 > correlations["nf4"] > 0.5


def test_late_steps_have_the_slopes_along_earlier_noise_and_what_these_miss(tiny: ModelWeights) -> None:
    workload = replace(workload_of("8da4w"), q=2)
    batches = dict(zip((2, 3), some_batches(workload, 2), strict=True))
    exact = Reference(workload, tiny.config, tiny.state, exact=True)
    update = 0.01 * torch.randn(exact.gradient(batches[2]).size, generator=torch.Generator().manual_seed(1))
    untrained, shares = {step: (float(step),) for step in batches}, list[float]()
    for late in late_steps(exact, batches, untrained, update, seed=7, on_progress=shares.append):
        batch = batches[late.step]
        gradient = exact.gradient(batch).astype(np.float64)
        noises = [[normal(7, before, query, 0, gradient.size) for query in range(2)] for before in range(late.step)]
        np.testing.assert_allclose(late.slopes, (noises @ gradient).reshape(-1), rtol=1e-4, atol=1e-5)
        assert late.untrained == untrained[late.step]
        moved = exact.loss(late.step * update, batch) - exact.loss(torch.zeros_like(update), batch)
        assert late.left_out == pytest.approx(abs(moved - late.step * gradient @ update.numpy()), abs=1e-5)
        assert late.left_out > 1e-3
    assert shares == sorted(shares) and shares[-1] == 1.0
