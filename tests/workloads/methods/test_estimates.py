"""What a step estimates, on a loss that is a quadratic of the adapter: its derivative is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workloads.method import METHOD_TABLE, METHODS
from workloads.methods.ends import KernelEnds
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import Loops
from workloads.methods.perturbation import KernelNoise
from workloads.methods.prge_step import PrgeStep
from workloads.models.config import LlamaConfig
from workloads.models.zoo import load_model
from workloads.workload import AdapterSlot, Workload

VALUES, STEPS, EPS = 6, 250, 0.05
ADAPTED = [name for name in METHODS if not METHOD_TABLE[name].trains_weights and METHOD_TABLE[name].points == 1]
ESTIMATED = [name for name in ADAPTED if METHOD_TABLE[name].noise is not None]

GENERATOR = torch.Generator().manual_seed(3)
HALF = torch.randn(VALUES, VALUES, generator=GENERATOR, dtype=torch.float64)
HESSIAN = HALF @ HALF.T / VALUES
LOWEST = torch.randn(VALUES, generator=GENERATOR, dtype=torch.float64)

DoubleArray = NDArray[np.float64]


class Quadratic(nn.Module):
    """1/2 (B - c)^T H (B - c) of each slice."""

    def forward(self, x: Tensor, bias: Tensor, adapter: Tensor) -> Tensor:
        """adapter [slices, 1, VALUES] -> [slices]; the rest is not read."""
        del x, bias
        distance = adapter[:, 0].to(torch.float64) - LOWEST
        return (0.5 * (distance @ HESSIAN * distance).sum(-1)).to(torch.float32)


class QuadraticEnds:
    """What lies around the layers, without a model: the layer's result is the loss."""

    def __init__(self) -> None:
        ends = KernelEnds(alone=True)
        self.collect_losses, self.mean_losses, self.gradient = ends.collect_losses, ends.mean_losses, ends.gradient

    def embed(self, embedding: nn.Module, tokens: Tensor, slices: int) -> Tensor:
        """Returns what nobody reads."""
        del embedding, slices
        return tokens

    def attention_bias(self, first: Tensor, length: int, slices: int) -> Tensor:
        """Returns what nobody reads."""
        del length, slices
        return first

    def answer_rows(self, x: Tensor, length: int, answers: int) -> Tensor:
        """Passes the losses on, [slices]."""
        del length, answers
        return x

    def answer_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """losses [slices] -> [slices, 1]."""
        del labels
        return logits[:, None]


def step_of(method: str, q: int) -> PrgeStep:
    """The method's own step over the quadratic, from an adapter that is not zero."""
    config: LlamaConfig = load_model("tiny").config
    workload = Workload("tiny", "fp32", q=q, b=1, T=1, method=method)
    layout = (AdapterSlot(0, "q_proj", 0, 1, VALUES),)
    parts = Parts(
        config, layout, nn.Identity(), [Quadratic()], nn.Identity(), torch.float32, lambda slot: torch.empty(0)
    )
    made = import_module(workload.training_method.step).make_program(workload, parts)
    noise = KernelNoise(torch.float32, workload.training_method.noise or "")
    step: PrgeStep = type(made)(parts, Loops.of(workload), Shape.of(workload), noise, QuadraticEnds())
    step.adapter.copy_(torch.linspace(-1.0, 1.0, VALUES))
    return step


def deviation(losses: DoubleArray) -> float:
    """By which FZOO divides a step."""
    return float(np.std(losses.reshape(-1)[1:], ddof=1))


@cache
@torch.no_grad()
def estimates(method: str, q: int) -> DoubleArray:
    """The direction of each of many steps that start from the same adapter, without a step's scale: [STEPS, VALUES]."""
    step, one = step_of(method, q), torch.zeros(1, 1, dtype=torch.int64)
    found = []
    for index in range(STEPS):
        key = torch.tensor([5, index])
        losses, _ = step(one, one[0], one, key, torch.tensor(0.0), torch.tensor(EPS))
        direction = step.noise.update(torch.zeros(VALUES), step.projected_gradient, key, torch.tensor(-1.0))
        scale = deviation(losses.numpy().astype(np.float64)) if METHOD_TABLE[method].normalised else 1.0
        found.append(direction.numpy().astype(np.float64) * scale)
    return np.array(found)


def sizes_of(method: str) -> tuple[int, ...]:
    facts = METHOD_TABLE[method]
    return (facts.queries,) if facts.queries else (facts.least_queries, 4 * facts.least_queries)


def exact() -> DoubleArray:
    gradient: DoubleArray = (HESSIAN @ (torch.linspace(-1.0, 1.0, VALUES).to(torch.float64) - LOWEST)).numpy()
    return gradient


@pytest.mark.slow
@pytest.mark.parametrize("method", ESTIMATED)
def test_an_estimate_is_the_gradient_on_average_and_its_variance_falls_as_the_queries_grow(method: str) -> None:
    """Within five standard errors of the mean. A variance of 250 steps is known to some 9 %, a ratio of two to 13 %."""
    variances = []
    for q in sizes_of(method):
        found = estimates(method, q)
        errors = found.std(axis=0, ddof=1) / np.sqrt(STEPS)
        assert (np.abs(found.mean(axis=0) - exact()) < 5 * errors).all()
        assert (errors < 0.5 * np.abs(exact()).max()).all()
        variances.append(found.var(axis=0).sum())
    if len(variances) > 1:
        assert variances[0] / variances[1] == pytest.approx(4.0, rel=0.4)


WRONG: dict[str, Callable[[DoubleArray], DoubleArray]] = {
    "the sign": lambda found: -found,
    "the factor": lambda found: found / 2.0,
    "the order of values": lambda found: found[:, ::-1],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_bound_of_the_mean_catches_wrong_estimates(wrong: Callable[[DoubleArray], DoubleArray]) -> None:
    found = wrong(estimates("prge", 4))
    errors = found.std(axis=0, ddof=1) / np.sqrt(STEPS)
    assert (np.abs(found.mean(axis=0) - exact()) > 5 * errors).any()
