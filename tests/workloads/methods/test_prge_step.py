"""A step run eagerly: loops, pending update, labels, padding, and sources of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.workloads.eager_training import SETTINGS, WORKLOAD, call, eager_step, train
from tests.support.workloads.training_runs import Settings, reference_training, relative_error, some_batches
from workloads.methods.noise import normal
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch, Reference


@pytest.mark.parametrize("q", [1, 4])
@pytest.mark.parametrize("outer_parallel", [True, False])
@pytest.mark.parametrize("inner_parallel", [True, False])
def test_parallel_and_sequential_loops_make_the_update_of_the_reference(
    q: int, outer_parallel: bool, inner_parallel: bool, tiny: ModelWeights
) -> None:
    workload = replace(WORKLOAD, q=q, outer_parallel=outer_parallel, inner_parallel=inner_parallel)
    batches = some_batches(workload, 2)
    expected = reference_training(tiny, workload, batches, 3, SETTINGS)
    losses, adapter = train(eager_step(tiny, workload), batches, 3)
    assert np.abs(losses / expected.losses - 1.0).max() < 1e-5
    assert relative_error(adapter, expected.adapter) < 1e-4


def test_query_zero_sees_the_same_noise_whatever_the_number_of_queries(tiny: ModelWeights) -> None:
    batch = some_batches(WORKLOAD, 1)[0]
    one, four = (call(eager_step(tiny, replace(WORKLOAD, q=q)), batch, 0)[0] for q in (1, 4))
    np.testing.assert_allclose(four[:, 0], one[:, 0], rtol=1e-5)
    assert np.abs(four[:, 1:] - one).min() > 1e-3


@pytest.mark.parametrize("q", [1, 4])
def test_update_is_the_mean_of_gradient_times_noise(q: int, tiny: ModelWeights) -> None:
    step = eager_step(tiny, replace(WORKLOAD, q=q))
    batch = some_batches(WORKLOAD, 1)[0]
    losses, _ = call(step, batch, 5)
    assert not step.adapter.any()
    gradients = (losses[0] - losses[1]) / (2 * SETTINGS.eps)
    np.testing.assert_allclose(step.projected_gradient.numpy(), gradients, rtol=1e-5)
    assert step.pending_key.tolist() == [SETTINGS.seed, 5]
    call(step, batch, 6, Settings(lr=0.5, eps=0.1))
    noises = [normal(SETTINGS.seed, 5, query, 0, step.adapter.numel()) for query in range(q)]
    expected = -0.5 * np.mean([g * z for g, z in zip(gradients, noises, strict=True)], axis=0)
    np.testing.assert_allclose(step.adapter.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_eps_zero_evaluates_the_trained_adapter_and_leaves_nothing_pending(tiny: ModelWeights) -> None:
    step, batches = eager_step(tiny, WORKLOAD), some_batches(WORKLOAD, 2)
    _, adapter = train(step, batches, 3)
    assert not step.projected_gradient.any()
    losses, row_losses = call(step, batches[1], 9, Settings(lr=0.5, eps=0.0))
    assert np.array_equal(step.adapter.numpy(), adapter)
    reference = Reference(WORKLOAD, tiny.config, tiny.state)
    expected = reference.loss(torch.from_numpy(adapter), batches[1])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(row_losses.sum(axis=-1), expected * WORKLOAD.b, rtol=1e-5)


def test_row_losses_are_the_losses_of_the_rows(tiny: ModelWeights) -> None:
    batch = some_batches(WORKLOAD, 1)[0]
    _, row_losses = call(eager_step(tiny, WORKLOAD), batch, 0)
    for row in range(WORKLOAD.b):
        alone = Batch(*(part[row : row + 1] for part in (batch.tokens, batch.first, batch.labels)))
        losses, _ = call(eager_step(tiny, replace(WORKLOAD, b=1)), alone, 0)
        np.testing.assert_allclose(row_losses[:, :, row], losses, rtol=1e-5)


def test_label_of_minus_one_is_ignored(tiny: ModelWeights) -> None:
    """Two answer positions with a label in the last alone are one answer position."""
    batch = some_batches(WORKLOAD, 1)[0]
    padded = Batch(batch.tokens, batch.first, np.concatenate([np.full_like(batch.labels, -1), batch.labels], axis=1))
    one = call(eager_step(tiny, WORKLOAD), batch, 0)
    two = call(eager_step(tiny, replace(WORKLOAD, answers=2)), padded, 0)
    for found, expected in zip(two, one, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_loss_is_the_mean_over_all_answer_tokens_of_the_batch(tiny: ModelWeights) -> None:
    """Three labels in two rows: each counts a third, as in the reference."""
    workload = replace(WORKLOAD, answers=2)
    batch = some_batches(workload, 1)[0]
    batch.labels[0, 0] = -1
    losses, row_losses = call(eager_step(tiny, workload), batch, 0)
    np.testing.assert_allclose(losses, row_losses.sum(axis=-1) / 3, rtol=1e-6)
    expected = reference_training(tiny, workload, [batch], 1, SETTINGS).losses[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_padding_on_the_left_changes_no_loss(tiny: ModelWeights) -> None:
    batch = some_batches(WORKLOAD, 1)[0]
    short, _ = call(eager_step(tiny, WORKLOAD), batch, 0)
    for padding in (1, 7):
        pads = np.full((WORKLOAD.b, padding), 3 + padding)
        longer = Batch(np.concatenate([pads, batch.tokens], axis=1), batch.first + padding, batch.labels)
        long, _ = call(eager_step(tiny, replace(WORKLOAD, T=WORKLOAD.T + padding)), longer, 0)
        np.testing.assert_allclose(long, short, rtol=1e-5)


def test_tokens_before_the_first_real_one_change_no_loss_and_the_first_real_one_does(tiny: ModelWeights) -> None:
    batch = some_batches(WORKLOAD, 1)[0]
    first = int(batch.first[0])
    assert first > 0
    losses, _ = call(eager_step(tiny, WORKLOAD), batch, 0)
    for position, changes in ((0, False), (first - 1, False), (first, True)):
        tokens = batch.tokens.copy()
        tokens[0, position] += 1
        found, _ = call(eager_step(tiny, WORKLOAD), Batch(tokens, batch.first, batch.labels), 0)
        assert np.allclose(found, losses, rtol=1e-6) is not changes


@pytest.mark.parametrize("quant", ["fp32", "int8-dynamic"])
def test_stock_noise_trains_as_the_kernel_noise_does(quant: str, tiny: ModelWeights) -> None:
    kernel, stock = (replace(WORKLOAD, quant=quant, noise=noise) for noise in ("kernel", "stock"))
    batches = some_batches(WORKLOAD, 2)
    (losses, adapter), (stock_losses, stock_adapter) = (
        train(eager_step(tiny, workload), batches, 3) for workload in (kernel, stock)
    )
    assert np.abs(stock_losses[0] / losses[0] - 1.0).max() < 1e-5
    assert relative_error(stock_adapter, adapter) < {"fp32": 1e-4, "int8-dynamic": 1e-1}[quant]


@pytest.mark.parametrize("loops", [(False, True), (True, False), (False, False)], ids=str)
def test_stock_noise_serves_sequential_loops_too(loops: tuple[bool, bool], tiny: ModelWeights) -> None:
    workload = replace(WORKLOAD, noise="stock", outer_parallel=loops[0], inner_parallel=loops[1])
    batches = some_batches(workload, 2)
    expected = reference_training(tiny, workload, batches, 2, SETTINGS)
    _, adapter = train(eager_step(tiny, workload), batches, 2)
    assert relative_error(adapter, expected.adapter) < 1e-4


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",)], ids=str)
@pytest.mark.parametrize("quant", ["fp32", "nf4"])
def test_projections_without_an_adapter_stay_frozen(targets: tuple[str, ...], quant: str, tiny: ModelWeights) -> None:
    workload = replace(WORKLOAD, quant=quant, targets=targets)
    batches = some_batches(workload, 2)
    expected = reference_training(tiny, workload, batches, 2, SETTINGS)
    step = eager_step(tiny, workload)
    _, adapter = train(step, batches, 2)
    assert adapter.size == expected.adapter.size < eager_step(tiny, WORKLOAD).adapter.numel()
    assert relative_error(adapter, expected.adapter) < 1e-4
