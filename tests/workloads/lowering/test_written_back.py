"""A graph whose writes become results at once is the one that torch makes of it by tracing it again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram, default_decompositions, export

from workloads.lowering.written_back import written_back
from workloads.methods import operators  # registers the operators  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # deprecations inside torch
]


class Counting(nn.Module):
    """Two buffers, of which the later one is written first, around an operator of the runner."""

    total: Tensor
    last: Tensor
    scale: Tensor

    def __init__(self, write: Callable[[Counting, Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("total", torch.zeros(2, 4))
        self.register_buffer("last", torch.zeros(2, 4))
        self.register_buffer("scale", torch.ones(4), persistent=False)
        self._write = write

    def forward(self, x: Tensor) -> Tensor:
        normal: Tensor = torch.ops.prge.rms_norm(x, self.weight, 1e-5)
        self._write(self, normal)
        result: Tensor = normal * self.scale
        return result


def exported(write: Callable[[Counting, Tensor], object]) -> ExportedProgram:
    return export(Counting(write), (torch.ones(2, 4),), strict=False)


def write_both(step: Counting, normal: Tensor) -> None:
    step.last.copy_(normal)
    step.total.copy_(step.total + normal)


def described(program: ExportedProgram) -> list[object]:
    nodes = [(node.op, str(node.target), str(node.args)) for node in program.graph.nodes]
    return [nodes, program.graph_signature, list(program.state_dict), list(program.constants)]


def test_written_program_is_the_one_that_is_traced_again() -> None:
    found = written_back(exported(write_both), {})
    assert found is not None
    assert described(found) == described(exported(write_both).run_decompositions({}))
    x = torch.full((2, 4), 3.0)
    torch.testing.assert_close(found.module()(x), Counting(write_both)(x))


def test_operator_to_decompose_is_left_to_torch() -> None:
    assert written_back(exported(write_both), {torch.ops.aten.add.Tensor: lambda *_: None}) is None


@pytest.mark.parametrize(
    "view",
    [lambda total: total.view(-1).view(4, 2), lambda total: total.split(1)[0]],
    ids=["view of a view", "one of several"],
)
def test_view_read_after_the_write_is_left_to_torch(view: Callable[[Tensor], Tensor]) -> None:
    def write(step: Counting, normal: Tensor) -> None:
        later = view(step.total)
        step.total.copy_(normal)
        step.last.copy_(normal + later.sum())

    assert written_back(exported(write), {}) is None


def test_view_read_before_the_write_has_the_old_value() -> None:
    def write(step: Counting, normal: Tensor) -> None:
        old = step.total.view(4, 2) + 1
        step.total.copy_(normal)
        step.last.copy_(old.view(2, 4))

    found = written_back(exported(write), {})
    assert found is not None
    module = found.module()
    module(torch.ones(2, 4))
    torch.testing.assert_close(dict(module.named_buffers())["last"], torch.ones(2, 4))


@pytest.mark.parametrize(
    "write",
    [
        lambda step, normal: step.total.add_(normal),
        lambda step, normal: (step.total.copy_(normal), step.last.copy_(step.total + 1)),
        lambda step, normal: step.total.copy_(normal[0]),
        lambda step, normal: step.total.copy_(normal.to(torch.float64)),
        lambda step, normal: step.total.copy_(nn.functional.linear(normal, torch.eye(4))),
        lambda step, normal: normal.relu_(),
    ],
    ids=["in place", "read again", "expanded", "converted", "composite", "of no buffer"],
)
def test_what_is_more_than_a_write_at_the_end_is_left_to_torch(write: Callable[[Counting, Tensor], object]) -> None:
    program = exported(write)
    before = str(program.graph)
    assert written_back(program, default_decompositions()) is None
    assert str(program.graph) == before
