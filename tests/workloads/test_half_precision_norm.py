"""RMSNorm in float16: right for every size of number that float16 holds, in PyTorch and inside the delegate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.runtime import Runtime
from torch import Tensor, nn

from workloads.delegation import delegate
from workloads.models.llama import RMSNorm

pytestmark = pytest.mark.filterwarnings("ignore")  # deprecations inside torch and executorch

SIZE = 576
EPS = 1e-5

ALLOWED = 6e-3
"""Relative. Rounding to float16 is 2^-11 = 5e-4 for each of: square, sum, root, constant, quotient, product with the
weight; a sum of 576 squares kept in float16 adds some more."""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def half_norm() -> RMSNorm:
    norm = RMSNorm(SIZE, EPS)
    norm.weight = nn.Parameter(1.0 + 0.2 * numbers(SIZE, seed=1), requires_grad=False)
    return norm.half()


def exact(norm: RMSNorm, x: Tensor) -> Tensor:
    wide = x.double()
    return wide / (wide.square().mean(-1, keepdim=True) + EPS).sqrt() * norm.weight.double()


def rows() -> Tensor:
    """A row for each case: evenly sized numbers of many sizes, and single large values over small ones."""
    even = [numbers(SIZE, seed=2) * size for size in (1e-3, 0.01, 0.1, 1.0, 10.0, 60.0, 100.0, 300.0, 1000.0, 8000.0)]
    single = []
    for largest in (200.0, 239.0, 240.0, 241.0, 255.0, 256.0, 300.0, 1000.0, 22552.0, 60000.0):
        row = numbers(SIZE, seed=3)
        row[7] = -largest
        single.append(row)
    return torch.stack([*even, *single]).half()


def assert_near(found: Tensor, wanted: Tensor, x: Tensor) -> None:
    assert torch.isfinite(found).all()
    # Results below float16's normal range keep fewer bits: an absolute error of half their step.
    error = (found.double() - wanted).abs() / (wanted.abs() + 2.0**-14 / ALLOWED / 16)
    worst = error.amax(dim=-1)
    print("largest relative error by row:", [f"{value:.1e}" for value in worst.tolist()])
    assert (worst < ALLOWED).all(), [(float(row.abs().max()), float(e)) for row, e in zip(x, worst, strict=True)]


def test_squares_that_overflow_do_not_matter() -> None:
    norm, x = half_norm(), rows()
    assert torch.isinf(x * x).any()
    assert_near(norm(x), exact(norm, x), x)


def test_zeros_stay_zero() -> None:
    assert not half_norm()(torch.zeros(2, SIZE, dtype=torch.float16)).any()


def test_delegated_norm_is_as_exact(tmp_path: Path) -> None:
    norm, x = half_norm(), rows()
    (part,) = delegate([norm], (x,))
    edge = to_edge(
        torch.export.export(part, (x,), strict=False), compile_config=EdgeCompileConfig(_check_ir_validity=False)
    )
    path = tmp_path / "norm.pte"
    path.write_bytes(edge.to_executorch().buffer)
    found: Tensor = Runtime.get().load_program(path).load_method("forward").execute([x])[0]
    assert_near(found, exact(norm, x), x)


def test_float32_norm_is_the_textbook_formula() -> None:
    norm = RMSNorm(SIZE, EPS)
    norm.weight = nn.Parameter(1.0 + 0.2 * numbers(SIZE, seed=1), requires_grad=False)
    x = rows().float()
    torch.testing.assert_close(norm(x).double(), exact(norm, x), rtol=1e-5, atol=1e-8)
