"""MeZO's step on all weights, run eagerly: what it estimates, and that it trains as the reference does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import UserError
from suite.planning.plan import Plan
from suite.training.plan import TrainingPlan
from tests.support.workloads.training_runs import Settings, some_batches
from workloads.all_weights.step import MezoFullStep
from workloads.export.program import eager_parts, make_program
from workloads.methods.parts import Shape
from workloads.models.config import LlamaConfig
from workloads.models.weights import ModelWeights
from workloads.reference.of_methods import AllWeightsReference
from workloads.workload import Workload

SMALL = LlamaConfig(vocab_size=3, hidden_size=2, intermediate_size=2, layers=1, heads=1, kv_heads=1, head_dim=2)
VALUES = sum(int(np.prod(shape)) for shape in SMALL.tensor_shapes().values())
STEPS, EPS = 250, 0.05

GENERATOR = torch.Generator().manual_seed(3)
HALF = torch.randn(VALUES, VALUES, generator=GENERATOR, dtype=torch.float64)
HESSIAN = HALF @ HALF.T / VALUES
LOWEST = torch.randn(VALUES, generator=GENERATOR, dtype=torch.float64)


class QuadraticStep(MezoFullStep):
    """The step on a loss that is a quadratic of all weights, as its products and norms have them."""

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        del tokens, first, labels
        values = []
        for name, slot in self.trained.slots.items():
            weight = self._weight(name)
            if weight.dim() == 1:
                values.append(self._perturbed_vector(name, key, eps, weight, sign))
            else:
                ones = torch.eye(weight.shape[1])
                product = torch.ops.prge.linear_perturbed(ones, weight, key, eps, slot, sign)
                values.append(product.T.reshape(-1))
        distance = torch.cat(values).to(torch.float64) - LOWEST
        return (0.5 * distance @ HESSIAN @ distance).to(torch.float32).reshape(1, 1)


def small_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in SMALL.tensor_shapes().items()}


def flat(state: dict[str, Tensor]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (
        torch.cat([state[name].reshape(-1) for name in SMALL.tensor_shapes()]).double().numpy()
    )
    return values


@cache
@torch.no_grad()
def estimates() -> NDArray[np.float64]:
    """How far each of many steps with lr 1 goes from the same weights, downwards: [STEPS, VALUES]."""
    workload = Workload("tiny", "fp32", q=1, b=1, T=1, method="mezo-full")
    one, state = torch.zeros(1, 1, dtype=torch.int64), small_state()
    parts = eager_parts(workload, SMALL, state)
    found = []
    step = QuadraticStep(parts, Shape.of(workload))
    starts = copy.deepcopy(dict(step.trained.named_buffers()))
    for index in range(STEPS):
        for name, value in step.trained.named_buffers():
            value.copy_(starts[name])
        step(one, one[0], one, torch.tensor([5, index]), torch.tensor(1.0), torch.tensor(EPS))
        found.append(flat(starts) - flat(dict(step.trained.named_buffers())))
    return np.array(found)


def exact() -> NDArray[np.float64]:
    gradient: NDArray[np.float64] = (HESSIAN @ (torch.from_numpy(flat(small_state())) - LOWEST)).numpy()
    return gradient


def share_of_gradient(found: NDArray[np.float64]) -> float:
    """How far the mean estimate goes along the gradient, in its lengths."""
    return float(found.mean(axis=0) @ exact() / np.square(exact()).sum())


MOST_OFF = 5 * np.sqrt(2.0 / STEPS)
"""Five standard errors of a share: along the gradient an estimate is g^2, the square of a normal, of variance 2."""


@pytest.mark.slow
def test_an_estimate_is_the_gradient_of_all_weights_on_average() -> None:
    errors = estimates().std(axis=0, ddof=1) / np.sqrt(STEPS)
    assert (np.abs(estimates().mean(axis=0) - exact()) < 5 * errors).all()
    assert share_of_gradient(estimates()) == pytest.approx(1.0, abs=MOST_OFF)


@pytest.mark.slow
def test_the_size_of_an_estimate_is_that_of_one_query() -> None:
    """On a quadratic g is the gradient times z, so that the mean of |g z|^2 is (n + 2) |gradient|^2.

    g^2 has a relative deviation of sqrt(2), the mean of 250 one of 9 %.
    """
    size = np.square(estimates()).sum(axis=1).mean()
    assert size == pytest.approx((VALUES + 2) * np.square(exact()).sum(), rel=0.45)


WRONG: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "the sign": lambda found: -found,
    "the factor": lambda found: 2.0 * found,
    "the order of values": lambda found: found[:, ::-1],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_bound_of_the_mean_catches_wrong_estimates(
    wrong: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    assert share_of_gradient(wrong(estimates())) != pytest.approx(1.0, abs=MOST_OFF)


@pytest.mark.parametrize(("quant", "of_losses", "of_weights"), [("fp32", 1e-6, 1e-5), ("fp16", 5e-5, 2e-3)])
@torch.no_grad()
def test_three_steps_leave_the_weights_of_the_reference(
    quant: str, of_losses: float, of_weights: float, tiny: ModelWeights
) -> None:
    workload = Workload("tiny", quant, q=1, b=2, T=16, method="mezo-full")
    settings, batches = Settings(lr=1e-4, eps=1e-2), some_batches(workload, 2)
    reference = AllWeightsReference(workload, tiny.config, tiny.state)
    expected = reference.train(batches, 3, seed=7, lr=settings.lr, eps=settings.eps).losses
    step = copy.deepcopy(make_program(workload, eager_parts(workload, tiny.config, tiny.state)))
    assert isinstance(step, MezoFullStep)
    before = {name: value.clone() for name, value in step.trained.named_buffers()}
    for index in range(3):
        batch = batches[index % 2]
        inputs = (torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels))
        losses, _ = step(*inputs, torch.tensor([7, index]), torch.tensor(settings.lr), torch.tensor(settings.eps))
        assert np.abs(losses.numpy() / expected[index] - 1.0).max() < of_losses
    for name, value in step.trained.named_buffers():
        after = reference.trained[name].double()
        change = (after - before[name].reshape(-1).double()).norm()
        assert (value.reshape(-1).double() - after).norm() < of_weights * change


def test_the_reference_leaves_the_weights_it_is_given_alone(tiny: ModelWeights) -> None:
    workload = Workload("tiny", "fp32", q=1, b=2, T=16, method="mezo-full")
    before = {name: value.clone() for name, value in tiny.state.items()}
    reference = AllWeightsReference(workload, tiny.config, tiny.state)
    reference.train(some_batches(workload, 1), 2, seed=7, lr=1e-3, eps=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state.items())
    (batch,) = some_batches(workload, 1)
    adapterless = torch.zeros(0)
    fresh = AllWeightsReference(workload, tiny.config, tiny.state).loss(adapterless, batch)
    untrained = reference.untrained_losses(batch, 0, seed=7, eps=0.0, on_progress=lambda share: None)
    assert untrained.reshape(-1) == pytest.approx([fresh, fresh], rel=1e-6)


@pytest.mark.parametrize("quant", ["bf16", "int8", "int8-dynamic", "8da4w", "nf4", "nf4-double"])
def test_settings_whose_weights_no_update_fits_are_refused(quant: str) -> None:
    with pytest.raises(UserError, match=rf"mezo-full updates weights in float32 or float16.*{quant}.*fp32, fp16"):
        Workload("tiny", quant, q=1, method="mezo-full")


def test_noise_of_the_stock_runtime_is_refused() -> None:
    with pytest.raises(UserError, match="mezo-full needs operators of the runner"):
        Workload("tiny", "fp32", q=1, method="mezo-full", noise="stock")


def test_an_adapter_to_start_a_training_from_is_refused_by_name() -> None:
    plan = Plan(devices=("local",), model="tiny", quants=("fp32",), method="mezo-full", q=1)
    with pytest.raises(UserError, match="mezo-full trains the model's own weights and has none: leave --adapter out"):
        TrainingPlan(plan, adapter="folder")
    assert TrainingPlan(plan).plan.q == 1
    assert TrainingPlan(replace(plan, method="mezo-lora-fa"), adapter="folder").plan.q == 1


def test_adapter_settings_make_no_other_program() -> None:
    plan = Plan(devices=("local",), model="tiny", quants=("fp32",), method="mezo-full", q=1)
    other = replace(plan, rank=8, alpha=1.0, targets=("q_proj",))
    assert list(other.workloads(1)) == list(plan.workloads(1))
    assert (other.shape, replace(other, method="prge").shape) == ("q=1 b=4 T=64", "q=1 b=4 T=64 rank=8")
    with pytest.raises(UserError, match="rank is 0"):
        replace(plan, rank=0)


def test_it_trains_with_rates_of_its_own_unless_others_are_given() -> None:
    plan = Plan(devices=("local",), model="tiny", quants=("fp32", "fp16"), method="mezo-full", q=1)
    for workload in plan.workloads(answers=1):
        training = plan.training(workload.setting)
        assert (training.lr, training.eps) == (1e-6, 1e-3)
        assert replace(plan, eps=0.5).training(workload.setting).eps == 0.5
    assert not list(plan.warnings())  # those of fp16 are about sums in float16
