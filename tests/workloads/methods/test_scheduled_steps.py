"""Methods whose updates build on several steps, run eagerly: the trainings of the formulas, and what they estimate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from suite.sessions.loss_check import ExpectedLosses, LossComparison, compare_losses, unchecked
from tests.support.workloads.eager_training import SETTINGS, call, eager_step
from tests.support.workloads.training_runs import FloatArray, Settings, relative_error, some_batches
from tests.workloads.methods.test_estimates import EPS, HESSIAN, LOWEST, VALUES, exact, step_of
from workloads.method import METHOD_TABLE
from workloads.methods.noise import normal
from workloads.methods.prge_step import PrgeStep
from workloads.models.weights import ModelWeights
from workloads.reference import of_methods
from workloads.reference.of_methods import reference_of
from workloads.scheduled import adazeta_step, momentum_step, schedules, svrg_step
from workloads.scheduled.schedules import Anchors, QueryGroups, updated
from workloads.workload import Workload

ADAZETA = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4, method="adazeta")
MOMENTUM = replace(ADAZETA, method="prge-momentum")
SVRG = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4, method="mezo-svrg")
STEPS = 9
ONE = torch.zeros(1, 1, dtype=torch.int64)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules that a few steps go through: groups of 1, 1, 1, 2, 1, 3; periods of five steps, two of them gather."""
    for module in (schedules, adazeta_step, of_methods):
        monkeypatch.setattr(module, "GROUPS", QueryGroups(3, (1, 2, 3)))
    for module in (schedules, svrg_step, of_methods):
        monkeypatch.setattr(module, "ANCHORS", Anchors(5, 2))


def state_of(step: PrgeStep) -> dict[str, FloatArray]:
    return {name: buffer.numpy().copy() for name, buffer in step.named_buffers()}


def test_groups_fill_each_epoch_and_their_last_one_has_what_is_left() -> None:
    groups = QueryGroups(5, (1, 2, 3))
    assert [groups.ended(step) for step in range(20)] == [1] * 5 + [0, 2, 0, 2, 1] + [0, 0, 3, 0, 2] * 2
    assert groups.ended(schedules.NOTHING) == 0


def test_the_schedule_asks_for_ever_more_queries() -> None:
    assert schedules.GROUPS.sizes[0] == 1
    assert all(after >= before for before, after in pairwise(schedules.GROUPS.sizes))
    assert schedules.GROUPS.sizes[-1] == 4


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "workload", [ADAZETA, replace(ADAZETA, outer_parallel=False), MOMENTUM, SVRG, replace(SVRG, inner_parallel=False)],
    ids=["adazeta", "adazeta in turn", "momentum", "mezo-svrg", "mezo-svrg in turn"],
)  # fmt: skip
def test_a_training_is_that_of_the_reference(workload: Workload, tiny: ModelWeights) -> None:
    """Losses of each step, and after each the adapter that the state stands for."""
    step, batches = eager_step(tiny, workload), some_batches(workload, 2)
    found, reference = [], reference_of(workload, tiny)
    for index in range(STEPS):
        found.append(call(step, batches[index % 2], index)[0])
        adapter = updated(state_of(step), workload.training_method, SETTINGS.lr)
        if index in (1, 4, STEPS - 1):
            expected = reference.train(batches, index + 1, seed=SETTINGS.seed, lr=SETTINGS.lr, eps=SETTINGS.eps)
            assert np.abs(np.stack(found) / expected.losses - 1.0).max() < 1e-5
            assert relative_error(adapter, expected.adapter) < 1e-4


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("workload", [ADAZETA, MOMENTUM, SVRG], ids=["adazeta", "momentum", "mezo-svrg"])
def test_a_step_that_only_evaluates_leaves_the_training_as_it_was(workload: Workload, tiny: ModelWeights) -> None:
    """Even where it has the number of a step that would end a group, or be corrected by the anchor."""
    batches = some_batches(workload, 2)
    plain, watched = eager_step(tiny, workload), eager_step(tiny, workload)
    for index in range(STEPS):
        wanted = call(plain, batches[index % 2], index)[0]
        if index in (4, 7, 8):
            call(watched, batches[0], index, Settings(SETTINGS.lr, 0.0))
        assert (call(watched, batches[index % 2], index)[0] == wanted).all()


def updates_of_groups(size: int, count: int, monkeypatch: pytest.MonkeyPatch) -> FloatArray:
    """The updates of many groups, all from the same adapter: [count, VALUES], as estimates of the gradient."""
    monkeypatch.setattr(adazeta_step, "GROUPS", QueryGroups(size, (size,)))
    step = step_of("adazeta", 2)
    start, found = step.adapter.clone(), []
    for index in range(count * size + 1):
        step(ONE, ONE[0], ONE, torch.tensor([5, index]), torch.tensor(1.0), torch.tensor(EPS))
        if index and index % size == 0:
            found.append((start - step.adapter).numpy().copy())
            step.adapter.copy_(start)
            # The queries of this step were taken around the moved adapter: take them again where the others are.
            step.pending_key.copy_(torch.tensor([5, schedules.NOTHING]))
            step.projected_gradient.zero_()
            step(ONE, ONE[0], ONE, torch.tensor([5, index]), torch.tensor(1.0), torch.tensor(EPS))
    return np.array(found)


@pytest.mark.slow
@torch.no_grad()
def test_the_variance_of_an_update_falls_as_its_group_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    variances = []
    for size in (1, 4):
        found = updates_of_groups(size, 250, monkeypatch)
        errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(found.mean(axis=0) - exact()) < 5 * errors).all()
        variances.append(found.var(axis=0).sum())
    assert variances[0] / variances[1] == pytest.approx(4.0, rel=0.4)


@pytest.mark.slow
@torch.no_grad()
def test_momentum_is_the_gradient_on_average_with_a_nineteenth_of_an_estimates_variance() -> None:
    """(1 - beta) / (1 + beta); around one adapter, as nothing moves at a rate of 0."""
    step, estimates, means = step_of("prge-momentum", 2), [], []
    assert isinstance(step, momentum_step.MomentumStep)
    for index in range(6000):
        step(ONE, ONE[0], ONE, torch.tensor([5, index]), torch.tensor(0.0), torch.tensor(EPS))
        noise = [normal(5, index, query, 0, VALUES) for query in range(2)]
        estimates.append(np.mean([g * z for g, z in zip(step.projected_gradient.numpy(), noise, strict=True)], axis=0))
        means.append(step.direction.numpy().copy())
    settled = np.array(means[100::30])  # so far apart that they share next to nothing
    errors = settled.std(axis=0, ddof=1) / np.sqrt(len(settled))
    assert (np.abs(settled.mean(axis=0) - exact()) < 5 * errors).all()
    assert np.var(estimates, axis=0).sum() / settled.var(axis=0).sum() == pytest.approx(19.0, rel=0.4)


@torch.no_grad()
def corrected_estimates(distance: float) -> FloatArray:
    """d + g for many steps with an anchor at a distance from the adapter, g being its exact gradient."""
    step = step_of("mezo-svrg", 2)
    assert isinstance(step, svrg_step.SvrgStep)
    anchor = step.adapter + distance * torch.from_numpy(normal(9, 0, 0, 0, VALUES))
    gradient = (HESSIAN @ (anchor.to(torch.float64) - LOWEST)).to(torch.float32)
    found = []
    for index in (each for each in range(400) if not schedules.ANCHORS.gathers(each)):
        step.anchor.copy_(anchor)
        key = torch.tensor([5, index])
        step.pending_key.copy_(torch.tensor([5, schedules.NOTHING]))
        step(ONE, ONE[0], ONE, key, torch.tensor(0.0), torch.tensor(EPS))
        mean = step.noise.update(torch.zeros(VALUES), step.projected_gradient, key, torch.tensor(-1.0))
        found.append((mean + gradient).numpy())
    return np.array(found)


@pytest.mark.slow
def test_a_corrected_estimate_is_the_gradient_and_varies_less_the_nearer_its_anchor() -> None:
    plain = np.array(
        [
            np.mean(
                [normal(5, index, i, 0, VALUES) * (normal(5, index, i, 0, VALUES) @ exact()) for i in (0, 1)], axis=0
            )
            for index in range(300)
        ]
    )
    near, far = corrected_estimates(0.1), corrected_estimates(0.4)
    for found in (near, far):
        errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(found.mean(axis=0) - exact()) < 5 * errors + 1e-5).all()
    assert far.var(axis=0).sum() / near.var(axis=0).sum() == pytest.approx(16.0, rel=0.05)
    assert near.var(axis=0).sum() < 0.1 * plain.var(axis=0).sum()


def followed(workload: Workload, weights: ModelWeights, settings: Settings) -> FloatArray:
    """The losses of the steps that sessions compare, trained as `settings` say."""
    step, batches = eager_step(weights, workload), some_batches(workload, 4)
    return np.stack([call(step, batches[index % 4], index, settings)[0] for index in range(workload.reference_steps)])


def rows(losses: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, step.reshape(-1))) for step in losses)


@pytest.mark.parametrize("workload", [ADAZETA, MOMENTUM, SVRG], ids=["adazeta", "momentum", "mezo-svrg"])
def test_sessions_that_train_wrongly_are_found_by_their_losses(workload: Workload, tiny: ModelWeights) -> None:
    count, batches = workload.reference_steps, some_batches(workload, 4)
    reference, seed, eps = reference_of(workload, tiny), SETTINGS.seed, SETTINGS.eps
    losses = reference.train(batches, count, seed=seed, lr=SETTINGS.lr, eps=eps).losses
    untrained = [
        reference.untrained_losses(batches[index % 4], index, seed=seed, eps=eps, on_progress=lambda _: None)
        for index in range(count - 2, count)
    ]
    expected = ExpectedLosses(
        rows(losses), rows(np.stack(untrained)), 1e-6, SETTINGS.lr, SETTINGS.eps, method=workload.method
    )

    def compared(found: FloatArray) -> LossComparison:
        comparison = compare_losses(rows(found), expected)
        assert isinstance(comparison, LossComparison)
        return comparison

    right = followed(workload, tiny, SETTINGS)
    assert compared(right).fault is None
    assert unchecked(compared(right), expected) is None
    assert compared(right[:, ::-1]).fault is not None
    for lr in (-SETTINGS.lr, 0.0, 1.1 * SETTINGS.lr):
        assert compared(followed(workload, tiny, replace(SETTINGS, lr=lr))).fault is not None


def test_a_session_without_the_correction_is_found(tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the step on whose update has the first corrected estimate."""
    right = followed(SVRG, tiny, SETTINGS)
    monkeypatch.setattr(svrg_step, "ANCHORS", Anchors(16, 16))
    assert np.abs(followed(SVRG, tiny, SETTINGS)[-1] - right[-1]).max() > 1e-3


def test_a_step_costs_what_it_computes() -> None:
    assert ADAZETA.forward_tokens == 2 * 2 * 2 * 16
    assert SVRG.forward_tokens == 2 * ADAZETA.forward_tokens
    assert METHOD_TABLE["mezo-svrg"].loss_shape(2) == (2, 4)


@pytest.mark.parametrize("workload", [ADAZETA, MOMENTUM, SVRG], ids=["adazeta", "momentum", "mezo-svrg"])
def test_a_runtime_without_the_runners_operators_is_refused(workload: Workload) -> None:
    with pytest.raises(UserError, match="needs operators of the runner, but noise is `stock`: choose noise `kernel`"):
        replace(workload, noise="stock")
