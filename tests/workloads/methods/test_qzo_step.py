"""QZO's step, run eagerly: what it estimates, how it is clipped, and that it trains as the reference does."""

from __future__ import annotations

import copy
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
from workloads.all_weights.scales_step import LIMIT, QzoStep
from workloads.estimates.session_memory import trained_values
from workloads.export.program import eager_parts, make_program
from workloads.methods.parts import Shape
from workloads.models.config import LlamaConfig
from workloads.models.weights import ModelWeights
from workloads.reference.of_methods import ScalesReference, reference_of
from workloads.workload import Workload, adapter_values

SMALL = LlamaConfig(vocab_size=3, hidden_size=2, intermediate_size=2, layers=1, heads=1, kv_heads=1, head_dim=2)
STEPS, EPS = 250, 0.05
QUANTS = {"int8": 127, "nf4": 1}
"""By setting, the largest code: what a scale is multiplied with to be the largest magnitude of its row or block."""

DoubleArray = NDArray[np.float64]


def workload_of(quant: str, b: int = 4, T: int = 64) -> Workload:
    return Workload("tiny", quant, q=1, b=b, T=T, method="qzo")


def small_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in SMALL.tensor_shapes().items()}


def scales_of(step: QzoStep) -> DoubleArray:
    found: DoubleArray = torch.cat([value for _, value in step.trained.named_buffers()]).double().numpy()
    return found


def matrix(values: int) -> DoubleArray:
    half = np.random.default_rng(3).standard_normal((values, values))
    product: DoubleArray = half @ half.T / values
    return product


class QuadraticStep(QzoStep):
    """The step on a loss that is a quadratic of the largest magnitudes of rows or blocks, lowest at zero."""

    steepness = 1.0

    def _row_losses(self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor, sign: int) -> Tensor:
        del tokens, labels
        eps = self._as_stored(eps)
        moved = [self._perturbed_vector(name, key, eps, first, sign) for name in self.trained.slots]
        sizes = torch.cat(moved).double().numpy() / self._share
        return torch.tensor([[0.5 * self.steepness * sizes @ matrix(len(sizes)) @ sizes]], dtype=torch.float32)


@torch.no_grad()
def moves(quant: str, steps: int, steepness: float = 1.0) -> tuple[DoubleArray, DoubleArray]:
    """How far many steps with lr 1 go downwards, each from the same scales, and the gradient there.

    [steps, values] and [values], both of the largest magnitudes of rows or blocks.
    """
    workload, one = workload_of(quant, b=1, T=1), torch.zeros(1, 1, dtype=torch.int64)
    step = QuadraticStep(eager_parts(workload, SMALL, small_state()), Shape.of(workload), QUANTS[quant])
    step.steepness = steepness
    starts = copy.deepcopy(dict(step.trained.named_buffers()))
    before, found = scales_of(step) * QUANTS[quant], []
    for index in range(steps):
        for name, value in step.trained.named_buffers():
            value.copy_(starts[name])
        step(one, one[0], one, torch.tensor([5, index]), torch.tensor(1.0), torch.tensor(EPS))
        found.append(before - scales_of(step) * QUANTS[quant])
    return np.array(found), steepness * matrix(len(before)) @ before


@cache
def estimates(quant: str) -> tuple[DoubleArray, DoubleArray]:
    return moves(quant, STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("quant", QUANTS)
def test_an_estimate_is_the_gradient_on_average_with_the_variance_of_one_query(quant: str) -> None:
    """On a quadratic g is the gradient times z: the mean of |g z|^2 is (n + 2) |gradient|^2, known to 9 % here."""
    found, exact = estimates(quant)
    errors = found.std(axis=0, ddof=1) / np.sqrt(STEPS)
    assert (np.abs(found.mean(axis=0) - exact) < 5 * errors).all()
    share = found.mean(axis=0) @ exact / np.square(exact).sum()
    assert share == pytest.approx(1.0, abs=5 * np.sqrt(2.0 / STEPS))
    size = np.square(found).sum(axis=1).mean()
    assert size == pytest.approx((len(exact) + 2) * np.square(exact).sum(), rel=0.45)


@pytest.mark.parametrize("quant", QUANTS)
def test_a_steep_slope_moves_scales_as_far_as_the_limit_alone(quant: str) -> None:
    gentle, exact = estimates(quant)
    steep, steeper = moves(quant, 12, steepness=1e6)
    along = np.sign(gentle[:12] @ exact)  # g is the gradient times z, and the move g z
    noise = gentle[:12] / np.linalg.norm(gentle[:12], axis=1)[:, None]
    assert np.allclose(steeper, 1e6 * exact)
    assert (along > 0).all()
    lengths = np.linalg.norm(steep, axis=1)
    assert (lengths < LIMIT * 3 * np.sqrt(len(exact))).all()
    assert (lengths > LIMIT * 0.2).all()
    assert np.abs(steep / lengths[:, None] - noise).max() < 1e-2  # in the same direction


def untied(tiny: ModelWeights) -> tuple[LlamaConfig, dict[str, Tensor]]:
    head = torch.randn(tiny.state["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(9)) / 8
    fields = {**vars(tiny.config), "tie_embeddings": False}
    return LlamaConfig(**fields), {**tiny.state, "lm_head.weight": head}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("quant", QUANTS)
@torch.no_grad()
def test_three_steps_leave_the_scales_of_the_reference(quant: str, tied: bool, tiny: ModelWeights) -> None:
    config, state = (tiny.config, dict(tiny.state)) if tied else untied(tiny)
    workload, settings = workload_of(quant, b=2, T=16), Settings(lr=1e-4, eps=1e-2)
    batches = some_batches(workload, 2)
    reference = ScalesReference(workload, config, state)
    expected = reference.train(batches, 3, seed=7, lr=settings.lr, eps=settings.eps).losses
    step = make_program(workload, eager_parts(workload, config, state))
    assert isinstance(step, QzoStep)
    before = {name: value.clone() for name, value in step.trained.named_buffers()}
    assert sum(value.numel() for value in before.values()) == trained_values(workload, config)
    for index in range(3):
        batch = batches[index % 2]
        inputs = (torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels))
        losses, _ = step(*inputs, torch.tensor([7, index]), torch.tensor(settings.lr), torch.tensor(settings.eps))
        assert np.abs(losses.numpy() / expected[index] - 1.0).max() < 1e-6
    assert ("lm_head.weight" in before) is not tied
    for name, value in step.trained.named_buffers():
        after = reference.trained[name].double()
        assert (value.double() - after).norm() < 2e-5 * (after - before[name].double()).norm()


def test_the_reference_of_the_method_starts_from_the_quantized_model(tiny: ModelWeights) -> None:
    """Its loss without noise is that of the model that other methods train adapters of."""
    workload = workload_of("nf4", b=2, T=16)
    (batch,) = some_batches(workload, 1)
    found = reference_of(workload, tiny)
    assert isinstance(found, ScalesReference)
    still = found.untrained_losses(batch, 0, seed=7, eps=0.0, on_progress=lambda share: None)
    adapted = reference_of(Workload("tiny", "nf4", q=1, b=2, T=16, rank=4), tiny)
    without = adapted.loss(torch.zeros(adapter_values(adapted.layout)), batch)
    assert still.reshape(-1) == pytest.approx([without, without], rel=1e-6)


@pytest.mark.parametrize("quant", ["fp32", "fp16", "bf16", "int8-dynamic", "8da4w", "nf4-double"])
def test_settings_without_such_scales_are_refused(quant: str) -> None:
    with pytest.raises(UserError, match=rf"qzo trains float32 scales.*{quant} has none: choose one of int8, nf4"):
        workload_of(quant)


def test_more_queries_other_loops_and_the_stock_runtime_are_refused() -> None:
    with pytest.raises(UserError, match="qzo has 1 query a step, but q is 4"):
        Workload("tiny", "int8", q=4, method="qzo")
    with pytest.raises(UserError, match="qzo runs its inner loop in turn"):
        Workload("tiny", "int8", q=1, method="qzo", inner_parallel=True)
    with pytest.raises(UserError, match="qzo needs operators of the runner"):
        Workload("tiny", "int8", q=1, method="qzo", noise="stock")


def test_an_adapter_to_start_a_training_from_is_refused_by_name() -> None:
    plan = Plan(devices=("local",), model="tiny", quants=("int8",), method="qzo", q=1)
    with pytest.raises(UserError, match="qzo trains the scales of the model's quantized weights and has none: leave"):
        TrainingPlan(plan, adapter="folder")
    assert TrainingPlan(plan).plan.q == 1


def test_it_costs_two_passes_and_has_rates_of_its_own_and_no_rank() -> None:
    plan = Plan(devices=("local",), model="tiny", quants=("int8", "nf4"), method="qzo", q=1)
    for workload in plan.workloads(answers=1):
        training = plan.training(workload.setting)
        assert (training.lr, training.eps) == (1e-6, 1e-3)
        assert workload.forward_tokens == 2 * plan.b * plan.T
        assert workload == Workload("tiny", workload.quant, q=1, rank=3, method="qzo")
    assert plan.shape == "q=1 b=4 T=64"
