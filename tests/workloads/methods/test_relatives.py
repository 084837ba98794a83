"""Relatives of P-RGE, run eagerly: their losses and steps are those of the formulas, whatever makes the noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.workloads.eager_training import SETTINGS, call, eager_step, train
from tests.support.workloads.training_runs import Settings, reference_training, relative_error, some_batches
from workloads.methods.noise import rademacher
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import SETTINGS as QUANTIZATION
from workloads.workload import Workload

MEZO = Workload("tiny", "fp32", q=1, b=2, T=16, rank=4, method="mezo-lora-fa")
RADEMACHER = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4, method="rademacher")
FZOO = Workload("tiny", "fp32", q=3, b=2, T=16, rank=4, method="fzoo")


@pytest.mark.parametrize("noise", ["kernel", "stock"])
@pytest.mark.parametrize(
    "workload",
    [MEZO, RADEMACHER, replace(RADEMACHER, outer_parallel=False), FZOO, replace(FZOO, outer_parallel=False)],
    ids=["mezo-lora-fa", "rademacher", "rademacher in turn", "fzoo", "fzoo in turn"],
)
def test_three_steps_leave_the_adapter_of_the_reference(workload: Workload, noise: str, tiny: ModelWeights) -> None:
    workload = replace(workload, noise=noise)
    batches = some_batches(workload, 2)
    expected = reference_training(tiny, workload, batches, 3, SETTINGS)
    losses, adapter = train(eager_step(tiny, workload), batches, 3)
    assert losses.shape == expected.losses.shape == (3, *workload.training_method.loss_shape(workload.q))
    assert np.abs(losses / expected.losses - 1.0).max() < 1e-5
    assert relative_error(adapter, expected.adapter) < 1e-4


def test_chunks_of_a_one_sided_pass_make_the_update_of_the_reference(
    tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The four slices of three queries in two chunks."""
    monkeypatch.setitem(QUANTIZATION, "fp32", replace(QUANTIZATION["fp32"], rows_per_chunk=64))
    batches = some_batches(FZOO, 2)
    expected = reference_training(tiny, FZOO, batches, 2, SETTINGS)
    losses, adapter = train(eager_step(tiny, FZOO), batches, 2)
    assert np.abs(losses / expected.losses - 1.0).max() < 1e-5
    assert relative_error(adapter, expected.adapter) < 1e-4


def test_a_step_of_fzoo_is_the_formula_of_its_losses(tiny: ModelWeights) -> None:
    """Dang et al., written out: the mean of (L_i - L_0) / eps u_i, divided by the deviation of the L_i."""
    step, (batch,) = eager_step(tiny, FZOO), some_batches(FZOO, 1)
    losses, row_losses = call(step, batch, 5)
    assert row_losses.shape == (1, 4, 2)
    base, *perturbed = losses[0].astype(np.float64)
    call(step, batch, 6, Settings(lr=0.5, eps=0.0))
    signs = [rademacher(SETTINGS.seed, 5, query, 0, step.adapter.numel()) for query in range(3)]
    mean = np.mean([(loss - base) / SETTINGS.eps * u for loss, u in zip(perturbed, signs, strict=True)], axis=0)
    expected = -0.5 * mean / np.std(perturbed, ddof=1)
    np.testing.assert_allclose(step.adapter.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_first_loss_of_fzoo_is_that_of_the_adapter_itself(tiny: ModelWeights) -> None:
    (batch,) = some_batches(FZOO, 1)
    step = eager_step(tiny, FZOO)
    losses, _ = call(step, batch, 0)
    still, _ = call(eager_step(tiny, FZOO), batch, 0, Settings(lr=0.5, eps=0.0))
    assert (still == still[0, 0]).all()
    assert losses[0, 0] == still[0, 0]
    assert (np.abs(losses[0, 1:] - still[0, 1:]) > 1e-3).all()


def test_eps_zero_leaves_nothing_of_fzoo_pending(tiny: ModelWeights) -> None:
    step, (batch,) = eager_step(tiny, FZOO), some_batches(FZOO, 1)
    call(step, batch, 0)
    assert step.projected_gradient.all()
    call(step, batch, 1, Settings(lr=0.5, eps=0.0))
    assert not step.projected_gradient.any()


def test_losses_that_are_all_equal_make_no_step(tiny: ModelWeights) -> None:
    """A perturbation that float32 does not see: the deviation is zero, and nothing is divided by it."""
    step, (batch,) = eager_step(tiny, FZOO), some_batches(FZOO, 1)
    losses, _ = call(step, batch, 0, Settings(lr=0.5, eps=1e-37))
    assert (losses == losses[0, 0]).all()
    assert not step.projected_gradient.any()
