"""What the fp16 setting keeps in float32, inside its delegates: exact for every size of number, on any processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.runtime import Runtime
from torch import Tensor, nn

from workloads.lowering.delegation import delegate
from workloads.models.conversion import to_half, to_single
from workloads.models.llama import RMSNorm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # deprecations inside torch and executorch
]

EPS = 1e-5
SIZES = (576, 2048, 8192)

ALLOWED = 2.0**-11 * 1.01
"""Relative: one rounding to float16, when the norm's result becomes an operand."""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm_of(size: int) -> RMSNorm:
    norm = RMSNorm(size, EPS)
    norm.weight = nn.Parameter(1.0 + 0.2 * numbers(size, seed=1), requires_grad=False)
    return norm


def exact(norm: RMSNorm, x: Tensor) -> Tensor:
    wide = x.double()
    return wide / (wide.square().mean(-1, keepdim=True) + EPS).sqrt() * norm.weight.double()


def rows(size: int) -> Tensor:
    """Returns a row for each case: evenly sized numbers of many sizes, equal numbers, single large values over small
    ones.
    """
    even = [numbers(size, seed=2) * scale for scale in (1e-3, 0.01, 0.1, 1.0, 10.0, 60.0, 100.0, 300.0, 1000.0, 8000.0)]
    equal = [torch.full((size,), value) for value in (3e-3, 1.0, 200.0)]
    single = []
    for largest in (200.0, 239.0, 240.0, 241.0, 255.0, 256.0, 300.0, 1000.0, 22552.0, 60000.0, 1e7):
        row = numbers(size, seed=3)
        row[7] = -largest
        single.append(row)
    return torch.stack([*even, *equal, *single])


class AsOperand(nn.Module):
    """A norm and the rounding of its result, as a layer has them."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return to_half(self.norm(x))


def run_delegated(part: nn.Module, x: Tensor, path: Path) -> Tensor:
    (delegated,) = delegate([part], (x,))
    edge = to_edge(
        torch.export.export(delegated, (x,), strict=False), compile_config=EdgeCompileConfig(_check_ir_validity=False)
    )
    path.write_bytes(edge.to_executorch().buffer)
    found: Tensor = Runtime.get().load_program(path).load_method("forward").execute([x])[0]
    return found


@pytest.mark.parametrize("size", SIZES)
def test_delegated_norm_is_rounded_once(size: int, tmp_path: Path) -> None:
    norm, x = norm_of(size), rows(size)
    expected = exact(norm, x)
    found = run_delegated(AsOperand(norm), x, tmp_path / "norm.pte")
    assert found.dtype == torch.float16
    # Results below float16's normal range keep fewer bits: half a step of the smallest.
    error = ((found.double() - expected).abs() - 2.0**-25).clamp(min=0) / expected.abs()
    print("largest relative error by row:", [f"{value:.1e}" for value in error.amax(dim=-1).tolist()])
    assert (error.amax(dim=-1) < ALLOWED).all()


def test_zeros_stay_zero() -> None:
    assert not norm_of(576)(torch.zeros(2, 576)).any()


def test_norm_is_the_textbook_formula() -> None:
    norm, x = norm_of(576), rows(576)
    torch.testing.assert_close(norm(x).double(), exact(norm, x), rtol=1e-5, atol=1e-8)


class There(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return to_half(x)


class ThereAndBack(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return to_single(to_half(x))


def test_conversions_inside_a_delegate_are_those_of_float16(tmp_path: Path) -> None:
    ties = torch.tensor([1.0 + 2.0**-11, 1.0 + 3 * 2.0**-11, 65519.0, 65520.0, 2.0**-25, 3 * 2.0**-25, -0.0])
    x = torch.cat([ties, numbers(1017) * 10.0 ** numbers(1017, seed=5)])[None]
    assert torch.equal(run_delegated(There(), x, tmp_path / "there.pte"), x.half())
    assert torch.equal(run_delegated(ThereAndBack(), x, tmp_path / "back.pte"), x.half().float())
