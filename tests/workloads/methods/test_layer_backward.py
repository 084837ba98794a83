"""The backward pass of a decoder layer against torch's autograd, for each way of computing its operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.export.program import eager_parts
from workloads.methods.layer_backward import LayerBackward
from workloads.models.llama import attention_bias
from workloads.models.weights import ModelWeights
from workloads.workload import Workload


def random_inputs(
    workload: Workload, weights: ModelWeights, targets: int
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """x, bias with rows padded on the left, the gradient by the result, and adapters far from zero."""
    generator = torch.Generator().manual_seed(3)
    rows, hidden = workload.b * workload.T, weights.config.hidden_size
    x, gradient = (torch.randn(1, rows, hidden, generator=generator) for _ in range(2))
    bias = attention_bias(torch.arange(workload.b) % workload.T, workload.T)
    widths = [weights.config.projection_shape(name)[0] for name in workload.targets]
    assert len(widths) == targets
    return x, bias, gradient, [torch.randn(1, workload.rank, width, generator=generator) for width in widths]


@pytest.mark.parametrize(
    ("b", "length", "targets"),
    [
        (1, 1, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
        (3, 8, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
        (2, 24, ("v_proj", "down_proj")),
    ],
)
def test_products_with_the_jacobian_are_those_of_autograd(
    b: int, length: int, targets: tuple[str, ...], tiny: ModelWeights
) -> None:
    """tiny has two heads for each key and value, so that their gradients are sums over a group."""
    assert tiny.config.heads == 2 * tiny.config.kv_heads
    workload = Workload("tiny", "fp32", q=1, b=b, T=length, rank=4, targets=targets, method="fo-lora-fa")
    block = eager_parts(workload, tiny.config, tiny.state).blocks[1]
    x, bias, gradient, adapters = random_inputs(workload, tiny, len(targets))
    wanted_of = [x.requires_grad_(), *(adapter.requires_grad_() for adapter in adapters)]
    expected = torch.autograd.grad(block(x, bias, *adapters), wanted_of, gradient)
    with torch.no_grad():
        found = LayerBackward(block)(x, bias, gradient, *adapters)
    assert len(found) == 1 + len(targets)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
