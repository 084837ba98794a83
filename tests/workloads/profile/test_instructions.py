"""Operators of programs of tiny: every frozen product by name, and operations as torch counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.support.workloads.training_runs import ArtifactOf, some_batches
from workloads.export.artifact import Artifact
from workloads.export.program import eager_parts, make_program
from workloads.models.config import PROJECTIONS
from workloads.models.weights import ModelWeights
from workloads.profile.instructions import DelegateOperators, operators_of
from workloads.profile.kernels import Kernel
from workloads.profile.operator import Group, Operator
from workloads.profile.program_file import ProgramUnreadable, read_instructions
from workloads.workload import Workload

pytestmark = pytest.mark.slow  # real exports

WORKLOAD = Workload("tiny", "fp32", q=2, b=2, T=16)
WORKLOADS = {
    **{quant: replace(WORKLOAD, quant=quant) for quant in ("fp32", "fp16", "int8-dynamic", "int8", "nf4", "bf16")},
    **{f"{quant}, top layer": replace(WORKLOAD, quant=quant, layers="1") for quant in ("fp32", "nf4")},
}


@pytest.fixture(params=WORKLOADS)
def workload(request: pytest.FixtureRequest) -> Workload:
    return WORKLOADS[request.param]


def operators(artifact: Artifact) -> Iterator[Operator]:
    """Yields the operators of delegates, the parts of kernels that have some, and the other kernels whole."""
    for called in operators_of(artifact):
        if isinstance(called, DelegateOperators):
            yield from called.nodes
        elif called.parts:
            yield from called.parts.values()
        else:
            yield called.whole


def torch_flops(workload: Workload, tiny: ModelWeights) -> int:
    """Returns the operations of all products of a step, in float32 and with linears of torch's own."""
    workload = replace(workload, quant="fp32")
    module = make_program(workload, eager_parts(workload, tiny.config, tiny.state))
    (batch,) = some_batches(workload, 1)
    inputs = [torch.from_numpy(np.asarray(each)) for each in (batch.tokens, batch.first, batch.labels)]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*inputs, torch.tensor([7, 0]), torch.tensor(1e-3), torch.tensor(1e-2))
    return int(counter.get_total_flops())


def test_every_frozen_product_has_its_layer_and_projection(
    workload: Workload, exported: ArtifactOf, tiny: ModelWeights
) -> None:
    found = [one for one in operators(exported(workload)) if one.group is Group.FROZEN]
    passes = len(found) // (tiny.config.layers * len(PROJECTIONS))
    expected = {(layer, name): passes for layer in range(tiny.config.layers) for name in PROJECTIONS}
    assert passes >= 1
    assert Counter((one.layer, one.part) for one in found) == expected


def test_products_have_as_many_operations_as_torch_counts(
    workload: Workload, exported: ArtifactOf, tiny: ModelWeights
) -> None:
    found = list(operators(exported(workload)))
    products = {
        group: sum(one.flops or 0.0 for one in found if one.group is group and _is_product(one))
        for group in (Group.FROZEN, Group.LOW_RANK, Group.ATTENTION, Group.HEAD)
    }
    assert all(products.values())
    # The eager model takes the means of its norms by products.
    slices, rows = 2 * workload.q, workload.b * workload.T
    of_layers = [1 if layer == 0 and workload.layers else slices for layer in range(tiny.config.layers)]
    rows_of_norms = sum(2 * each * rows for each in of_layers) + slices * workload.b * workload.answers
    without_results = slices * workload.b * (workload.T - workload.results)  # rows of the last layer
    rows_of_norms -= without_results
    # The kernels multiply all rows with the A of q, which lies beside those of k and v.
    of_query = 2 * workload.rank * tiny.config.hidden_size * without_results if workload.by_kernel else 0
    expected = torch_flops(workload, tiny) - 2 * tiny.config.hidden_size * rows_of_norms
    assert sum(products.values()) == expected + of_query


def _is_product(one: Operator) -> bool:
    return one.name in ("product", "batched product", "scores", "mix", "x A^T", "x A^T B")


def test_only_what_gets_memory_is_for_nothing_in_particular(workload: Workload, exported: ArtifactOf) -> None:
    rest = {one.name for one in operators(exported(workload)) if one.group is Group.REST}
    assert rest <= {"_empty_dim_order"}


def test_the_kinds_of_work_of_a_layer_are_the_same_by_delegate_and_by_kernel(exported: ArtifactOf) -> None:
    groups = [{one.group for one in operators(exported(replace(WORKLOAD, quant=quant)))} for quant in ("fp32", "nf4")]
    assert groups[0] - groups[1] == {Group.RESIDUAL}  # which the kernel adds in its products
    assert groups[1] - groups[0] == {Group.DECODE, Group.REST}


def test_bytes_of_stored_weights_are_those_that_a_setting_stores(exported: ArtifactOf, tiny: ModelWeights) -> None:
    rows, hidden = 2 * WORKLOAD.q * WORKLOAD.b * WORKLOAD.T, tiny.config.hidden_size
    (query,) = (
        one for one in operators(exported(WORKLOAD)) if (one.group, one.part, one.layer) == (Group.FROZEN, "q_proj", 0)
    )
    assert query.bytes == 4 * (2 * rows * hidden + hidden * hidden)
    (decoded,) = (
        one
        for one in operators(exported(replace(WORKLOAD, quant="nf4")))
        if (one.group, one.part, one.layer) == (Group.DECODE, "q_proj", 0)
    )
    assert decoded.bytes == hidden * hidden * (0.5 + 4 / 64 + 4)
    first = next(one for one in operators(exported(WORKLOAD)) if one.name == "perturb")
    values = WORKLOAD.rank * sum(out for out, _ in tiny.config.linear_shapes().values())
    assert first.bytes == 4 * values * (2 * WORKLOAD.q + 1)


def test_a_part_that_is_not_known_keeps_its_name() -> None:
    kernel = Kernel(Operator("decoder_layer", Group.REST, layer=3), {})
    assert kernel.part("whatever k_proj") == Operator("whatever", Group.REST, "k_proj", 3)


@pytest.mark.parametrize("content", [b"", b"no program", bytes(200)])
def test_a_file_that_is_no_program_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "program.pte"
    path.write_bytes(content)
    with pytest.raises(ProgramUnreadable, match=r"program\.pte can't be read .*export it again"):
        read_instructions(path)
