"""Parts become delegates: alone or as siblings of a template, with their own constants, or not at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.runtime import Runtime
from torch import Tensor, nn

from workloads.export.program import block_example, eager_parts
from workloads.lowering.delegation import NotDelegatedError, delegate
from workloads.models.weights import ModelWeights
from workloads.workload import Workload

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # deprecations inside torch and executorch
]


class Scaled(nn.Module):
    """(x W) * row, W a packed weight, row an argument of the delegate."""

    weight: Tensor
    row: Tensor

    def __init__(self, weight: Tensor, row: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("row", row)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight) * self.row


class TwoProducts(nn.Module):
    """x V + x W."""

    v: Tensor
    w: Tensor

    def __init__(self, v: Tensor, w: Tensor) -> None:
        super().__init__()
        self.register_buffer("v", v)
        self.register_buffer("w", w)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.v) + nn.functional.linear(x, self.w)


class OneAfterTheOther(nn.Module):
    """A program around two delegated parts."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(x))
        return result


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored(lowered: LoweredBackendModule) -> dict[str, tuple[bytes, int]]:
    """Constants kept beside a delegate: bytes and alignment by name."""
    output = lowered.named_data_store_output
    assert output is not None
    return {key: (bytes(output.buffers[e.buffer_index]), e.alignment) for key, e in output.pte_data.items()}


def assert_same_delegate(found: LoweredBackendModule, expected: LoweredBackendModule) -> None:
    assert found.processed_bytes == expected.processed_bytes
    assert stored(found) == stored(expected)


RunProgram = Callable[[nn.Module, Tensor], Tensor]


@pytest.fixture
def run(tmp_path: Path) -> RunProgram:
    """What a program made of `module` computes in the stock runtime."""

    def execute(module: nn.Module, x: Tensor) -> Tensor:
        edge = to_edge(
            torch.export.export(module, (x,), strict=False),
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        path = tmp_path / "program.pte"
        path.write_bytes(edge.to_executorch().buffer)
        result: Tensor = Runtime.get().load_program(path).load_method("forward").execute([x])[0]
        return result

    return execute


@pytest.mark.parametrize("quant", ["fp32", "int8-dynamic"])
def test_sibling_layer_equals_the_same_layer_lowered_alone(tiny: ModelWeights, quant: str) -> None:
    # With answers at every position the last layer makes all rows, as the others do.
    workload = Workload("tiny", quant, q=1, b=1, T=8, rank=4, answers=8)
    parts = eager_parts(workload, tiny.config, tiny.state)
    example = block_example(workload, parts)
    of_template = delegate(parts.blocks, example)[1]
    (alone,) = delegate([parts.blocks[1]], example)
    assert_same_delegate(of_template.lowered, alone.lowered)
    assert [name for name, _ in of_template.named_buffers()] == [name for name, _ in alone.named_buffers()]
    for (_, found), (_, expected) in zip(of_template.named_buffers(), alone.named_buffers(), strict=True):
        assert torch.equal(found, expected)


def test_siblings_are_not_the_template() -> None:
    x = numbers(3, 8, seed=0)
    first, second = (TwoProducts(numbers(4, 8, seed=s), numbers(4, 8, seed=s + 1)) for s in (1, 3))
    a, b = delegate([first, second], (x,))
    assert stored(a.lowered).keys().isdisjoint(stored(b.lowered))


def test_constants_equal_only_in_the_template_stay_distinct_in_a_sibling(run: RunProgram) -> None:
    x, same = numbers(3, 8, seed=0), numbers(4, 8, seed=1)
    template = TwoProducts(same, same.clone())
    sibling = TwoProducts(numbers(4, 8, seed=2), numbers(4, 8, seed=3))
    of_template = delegate([template, sibling], (x,))[1]
    (alone,) = delegate([sibling], (x,))
    assert_same_delegate(of_template.lowered, alone.lowered)
    torch.testing.assert_close(run(of_template, x), sibling(x))


def test_constants_that_become_equal_in_a_sibling_are_stored_once(run: RunProgram) -> None:
    x, same = numbers(3, 8, seed=0), numbers(4, 8, seed=1)
    template = TwoProducts(numbers(4, 8, seed=2), numbers(4, 8, seed=3))
    sibling = TwoProducts(same, same.clone())
    of_template = delegate([template, sibling], (x,))[1]
    assert len(stored(of_template.lowered)) == 1
    torch.testing.assert_close(run(of_template, x), sibling(x))


def test_program_of_siblings_computes_what_the_parts_do(run: RunProgram) -> None:
    x = numbers(3, 8, seed=0)
    parts = [Scaled(numbers(8, 8, seed=s), numbers(8, seed=s + 1)) for s in (1, 3)]
    expected = parts[1](parts[0](x))
    torch.testing.assert_close(run(OneAfterTheOther(*delegate(parts, (x,))), x), expected)


def test_constant_that_parts_share_is_one_constant_of_the_delegates() -> None:
    x, shared = numbers(3, 8, seed=0), numbers(4, 8, seed=9)
    a, b = delegate([TwoProducts(shared, numbers(4, 8, seed=s)) for s in (1, 2)], (x,))
    assert len(stored(a.lowered).keys() & stored(b.lowered).keys()) == 1


def test_constants_that_are_views_of_larger_storages_are_exported_correctly(run: RunProgram) -> None:
    x, all_weights, all_rows = numbers(3, 8, seed=0), numbers(5, 8, 8, seed=1), numbers(5, 8, seed=2)
    parts = [Scaled(all_weights[index], all_rows[index]) for index in (2, 3)]
    expected = parts[1](parts[0](x))
    delegated = delegate(parts, (x,))
    assert all(len(data) == 8 * 8 * 4 for part in delegated for data, _ in stored(part.lowered).values())
    torch.testing.assert_close(run(OneAfterTheOther(*delegated), x), expected)


def test_transposed_constants_are_exported_in_their_order(run: RunProgram) -> None:
    x = numbers(3, 8, seed=0)
    parts = [Scaled(numbers(8, 8, seed=s).T, numbers(8, seed=s + 1)) for s in (1, 3)]
    expected = parts[1](parts[0](x))
    torch.testing.assert_close(run(OneAfterTheOther(*delegate(parts, (x,))), x), expected)


class WithActivation(nn.Module):
    """Has what one of XNNPACK's passes looks for: an activation to fuse."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", numbers(4, 8, seed=1))

    def forward(self, x: Tensor) -> Tensor:
        product = nn.functional.linear(x, self.get_buffer("weight"))
        return torch.relu(product + product)


class Normalized(nn.BatchNorm1d):
    """One of XNNPACK's passes makes a convolution of it, which only then is work for a later one."""

    def __init__(self) -> None:
        super().__init__(8)
        self.eval()


@pytest.mark.parametrize("part", [WithActivation(), Normalized(), Scaled(numbers(8, 8, seed=1), numbers(8, seed=2))])
def test_quick_tracing_leaves_out_nothing_that_reaches_the_delegate(part: nn.Module) -> None:
    (quick,), (thorough,) = (lower([part], (numbers(3, 8, seed=0),)) for lower in (delegate, inspect.unwrap(delegate)))
    assert_same_delegate(quick.lowered, thorough.lowered)


class CumulativeSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1.0).cumsum(0) * 2.0


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(0)


@pytest.mark.parametrize("part", [CumulativeSum(), Nothing()], ids=["cut in two", "nothing to delegate"])
def test_part_that_is_not_one_delegate_is_refused_with_the_operators_left_outside(part: nn.Module) -> None:
    with pytest.raises(NotDelegatedError, match="cumsum"):
        delegate([part], (numbers(3, 8, seed=0),))
