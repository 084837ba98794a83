"""An evaluation gives the losses of the eager reference, for whole answers and for candidates of one token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.workloads.eager_training import WORKLOAD
from tests.support.workloads.training_runs import FloatArray
from workloads.export.program import eager_parts, make_program
from workloads.method import EVALUATE
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch, Reference
from workloads.workload import Workload, adapter_values, layout_of

ROWS, LENGTH, CANDIDATES = 3, 16, 4


def evaluated(tiny: ModelWeights, workload: Workload, batch: Batch, adapter: torch.Tensor) -> FloatArray:
    module = make_program(workload, eager_parts(workload, tiny.config, tiny.state))
    arrays = (torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels))
    with torch.no_grad():
        losses: FloatArray = module(*arrays, adapter).numpy()
    return losses


@pytest.fixture
def adapter(tiny: ModelWeights) -> torch.Tensor:
    values = adapter_values(layout_of(WORKLOAD, tiny.config))
    return 0.1 * torch.randn(values, generator=torch.Generator().manual_seed(3))


def _batch(tiny: ModelWeights, labels: int) -> Batch:
    drawn = np.random.default_rng(5)
    ids = drawn.integers(0, tiny.config.vocab_size, (ROWS, LENGTH + labels))
    return Batch(ids[:, :LENGTH], np.array([0, 3, 9]), ids[:, LENGTH:])


def _workload(quant: str, answers: int, candidates: int) -> Workload:
    shape = replace(
        WORKLOAD, quant=quant, q=1, b=ROWS, T=LENGTH, outer_parallel=None, inner_parallel=None, method=EVALUATE
    )
    return replace(shape, answers=answers, candidates=candidates)


@pytest.mark.parametrize("quant", ["fp32", "bf16", "nf4"])
def test_answers_of_several_tokens_have_the_losses_of_the_reference(
    tiny: ModelWeights, adapter: torch.Tensor, quant: str
) -> None:
    workload, batch = _workload(quant, answers=2, candidates=1), _batch(tiny, 2)
    batch.labels[1, 0] = -1
    losses = evaluated(tiny, workload, batch, adapter)
    reference = Reference(workload, tiny.config, tiny.state)
    rows = [Batch(*(part[row : row + 1] for part in vars(batch).values())) for row in range(ROWS)]
    counts = (batch.labels >= 0).sum(axis=1)
    expected = [reference.loss(adapter, row) * count for row, count in zip(rows, counts, strict=True)]
    np.testing.assert_allclose(losses, [expected], rtol=2e-2 if quant == "bf16" else 1e-5)


def test_candidates_of_one_token_are_evaluated_in_one_pass(tiny: ModelWeights, adapter: torch.Tensor) -> None:
    batch = _batch(tiny, CANDIDATES)
    losses = evaluated(tiny, _workload("fp32", answers=1, candidates=CANDIDATES), batch, adapter)
    alone = _workload("fp32", answers=1, candidates=1)
    for place in range(CANDIDATES):
        one = Batch(batch.tokens, batch.first, batch.labels[:, place : place + 1])
        np.testing.assert_allclose(losses[place], evaluated(tiny, alone, one, adapter)[0], rtol=1e-6)
    assert losses.shape == (CANDIDATES, ROWS)
