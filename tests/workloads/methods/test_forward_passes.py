"""The passes of a step, and how a pass is cut into chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.workloads.eager_training import SETTINGS, WORKLOAD, eager_step, train
from tests.support.workloads.training_runs import reference_training, relative_error, some_batches
from workloads.methods.passes import BOTH, MINUS, PLUS, ForwardPass, Loops
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import ROWS_PER_CHUNK
from workloads.quantize.settings import SETTINGS as QUANTIZATION
from workloads.reference.eager import Trajectory
from workloads.workload import Workload


def test_parallel_loops_are_one_pass() -> None:
    assert list(Loops(3).passes()) == [ForwardPass(0, 3, BOTH)]


def test_sequential_loops_are_a_pass_for_each_query_and_sign() -> None:
    assert list(Loops(2, outer_parallel=False, inner_parallel=False).passes()) == [
        ForwardPass(0, 1, PLUS),
        ForwardPass(0, 1, MINUS),
        ForwardPass(1, 1, PLUS),
        ForwardPass(1, 1, MINUS),
    ]


def test_only_one_loop_may_be_sequential() -> None:
    assert list(Loops(2, outer_parallel=False).passes()) == [ForwardPass(0, 1, BOTH), ForwardPass(1, 1, BOTH)]
    assert list(Loops(2, inner_parallel=False).passes()) == [ForwardPass(0, 2, PLUS), ForwardPass(0, 2, MINUS)]


@settings(deadline=None)
@given(
    queries=st.integers(1, 64),
    first_query=st.integers(0, 64),
    signs=st.sampled_from([BOTH, PLUS, MINUS]),
    rows=st.integers(1, 5000),
)
def test_chunks_are_equal_cover_the_pass_in_order_and_are_large_enough(
    queries: int, first_query: int, signs: int, rows: int
) -> None:
    whole = ForwardPass(first_query, queries, signs)
    chunks = whole.chunks(rows, ROWS_PER_CHUNK)
    for sign in (PLUS, MINUS) if signs == BOTH else (signs,):
        of_sign = [chunk for chunk in chunks if chunk.signs in (BOTH, sign)]
        covered = [query for chunk in of_sign for query in range(chunk.first_query, chunk.first_query + chunk.queries)]
        assert covered == list(range(first_query, first_query + queries))
    assert len({chunk.slices for chunk in chunks}) == 1
    assert sum(chunk.slices for chunk in chunks) == whole.slices
    assert len(chunks) == 1 or chunks[0].slices * rows >= ROWS_PER_CHUNK


def test_a_slice_with_enough_rows_is_its_own_chunk() -> None:
    assert ForwardPass(2, 2, BOTH).chunks(256, at_least=256) == tuple(
        ForwardPass(query, 1, sign) for query in (2, 3) for sign in (PLUS, MINUS)
    )
    assert ForwardPass(2, 2, BOTH).chunks(255, at_least=256) == (ForwardPass(2, 1, BOTH), ForwardPass(3, 1, BOTH))


@pytest.fixture(scope="module")
def two_steps_of_the_reference(tiny: ModelWeights) -> Callable[[Workload], Trajectory]:
    """The reference has no chunks, so one serves all chunk sizes."""
    return cache(lambda workload: reference_training(tiny, workload, some_batches(workload, 2), 2, SETTINGS))


@pytest.mark.parametrize("rows_per_chunk", [64, 32])
@pytest.mark.parametrize("inner_parallel", [True, False])
@pytest.mark.parametrize("noise", ["kernel", "stock"])
def test_chunks_make_the_update_of_the_reference(
    noise: str,
    inner_parallel: bool,
    rows_per_chunk: int,
    tiny: ModelWeights,
    two_steps_of_the_reference: Callable[[Workload], Trajectory],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks of a query with both signs, and of one sign."""
    monkeypatch.setitem(QUANTIZATION, "fp32", replace(QUANTIZATION["fp32"], rows_per_chunk=rows_per_chunk))
    workload = replace(WORKLOAD, q=6, noise=noise, inner_parallel=inner_parallel)
    assert len(next(Loops(6, True, inner_parallel).passes()).chunks(workload.b * workload.T, rows_per_chunk)) > 1
    expected = two_steps_of_the_reference(workload)
    losses, adapter = train(eager_step(tiny, workload), some_batches(workload, 2), 2)
    assert np.abs(losses / expected.losses - 1.0).max() < 1e-5
    assert relative_error(adapter, expected.adapter) < 1e-4
