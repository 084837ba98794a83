"""Which results of operators lie in the memory of their arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge
from torch import Tensor, nn
from torch.export import export

from workloads.export.export import InPlacePlanning
from workloads.lowering.external_constants import ExternalConstants
from workloads.lowering.stored_constants import StoredConstants
from workloads.methods import backprop_operators  # registers the operators  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # deprecations inside torch and executorch
]


class Around(nn.Module):
    """Around an operator that may overwrite its argument."""

    def __init__(self, result: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._result = result

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        logits = x + x
        seen = logits.view(-1).view(4, 2)
        gradient: Tensor = torch.ops.prge.loss_gradient(logits, labels)
        return self._result(gradient, seen)


@pytest.mark.parametrize(
    ("result", "overwrites"),
    [(lambda gradient, _seen: gradient + gradient, True), (lambda gradient, seen: gradient.view(4, 2) + seen, False)],
    ids=["nothing reads it", "a view of it is read"],
)
def test_an_argument_is_overwritten_unless_a_view_of_it_is_read_later(
    result: Callable[[Tensor, Tensor], Tensor], overwrites: bool
) -> None:
    inputs = (torch.ones(2, 4), torch.zeros(2, dtype=torch.int64))
    edge = to_edge(
        export(Around(result), inputs, strict=False), compile_config=EdgeCompileConfig(_check_ir_validity=False)
    )
    planning = InPlacePlanning(ExternalConstants(nn.Module(), StoredConstants()))
    program = edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning))  # type: ignore[arg-type]
    nodes = program.exported_program().graph.nodes
    (gradient,) = [node for node in nodes if "loss_gradient" in str(node.target)]
    places = [node.meta["spec"].mem_offset for node in (gradient, gradient.args[0])]
    assert (places[0] == places[1]) is overwrites
