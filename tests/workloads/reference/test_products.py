"""Products of the reference: float32, and float16 as a device sums them, found by the probe, modelled on the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from devices.deployment.built_runner import BuiltRunner
from foundation.errors import UserError
from suite.sessions.loss_check import ExpectedLosses, LossComparison, compare_losses
from tests.support.twins.twin_emulator import emulated_script
from tests.support.twins.twin_processors import NANO, PI_5
from tests.support.workloads.own_arithmetic import probe
from tests.support.workloads.program_bounds import workload_of
from tests.support.workloads.training_runs import ArtifactOf, Settings, some_batches, train_in_runner
from workloads.lowering.arithmetic_probe import Accumulation, accumulation_of
from workloads.models.weights import ModelWeights
from workloads.reference import products
from workloads.reference.eager import Reference
from workloads.reference.products import HalfProducts, float32_product

BOTH = tuple(Accumulation)


def halves(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).half()


def sums_in_half(x: torch.Tensor, matrix: torch.Tensor) -> np.ndarray:
    """x [rows, depth] times matrix [depth, columns] as the formula says: float64 holds a fused multiply-add exactly."""
    left, right = x.double().numpy(), matrix.double().numpy()
    total = np.zeros((left.shape[0], right.shape[1]), dtype=np.float16)
    for k in range(left.shape[1]):
        total = (total.astype(np.float64) + left[:, k : k + 1] * right[k]).astype(np.float16)
    return total.astype(np.float64)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 64), (1, 1, 200), (2, 129, 576)])
@pytest.mark.parametrize("outputs", [1, 33])
def test_float32_products_are_those_of_float64_with_and_without_a_gradient(
    shape: tuple[int, ...], outputs: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(*shape, generator=generator), torch.randn(outputs, shape[-1], generator=generator)
    exact = functional.linear(x.double(), weight.double())
    with torch.no_grad():
        found = float32_product(x, weight)
    kept = float32_product(x.requires_grad_(), weight)
    for product in (found, kept.detach()):
        torch.testing.assert_close(product.double(), exact, rtol=0.0, atol=1e-6 * shape[-1])
    (gradient,) = torch.autograd.grad(kept.sum(), x)
    torch.testing.assert_close(gradient, weight.sum(dim=0).expand_as(x))


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (3, 64, 5), (130, 200, 33), (5, 1536, 48)])
def test_sums_in_float16_are_those_of_fused_multiply_adds(rows: int, depth: int, columns: int) -> None:
    x, weight = halves(rows, depth, seed=1), halves(columns, depth, seed=2) / depth**0.5
    with HalfProducts(Accumulation.FP16):
        found = functional.linear(x, weight)
    expected = sums_in_half(x, weight.t())
    spacing = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    steps = np.abs(found.double().numpy() - expected) / spacing
    assert found.dtype == torch.float16
    # Rounding twice differs in one of 8192 additions, and goes on from there as another rounding would.
    assert (steps == 0).mean() > 1 - depth / 2000
    assert np.abs(found.double().numpy() - expected).max() < 2**-10 * depth**0.5 * max(1.0, np.abs(expected).max())


def test_subnormal_and_infinite_sums_are_those_of_float16() -> None:
    small, large = torch.full((1, 3), 2.0**-12).half(), torch.full((1, 3), 300.0).half()
    with HalfProducts(Accumulation.FP16):
        assert float(functional.linear(small, small)) == 3 * 2.0**-24
        assert float(functional.linear(large, large)) == float("inf")


@pytest.mark.parametrize(("accumulation", "total"), [(Accumulation.FP16, 2048.0), (Accumulation.FP32, 4096.0)])
def test_ones_add_up_as_on_the_device(accumulation: Accumulation, total: float) -> None:
    ones = torch.ones(2, 4096, dtype=torch.float16)
    with HalfProducts(accumulation):
        assert (functional.linear(ones, ones) == total).all()
        assert (torch.bmm(ones[None], ones.t()[None]) == total).all()
        assert (ones[None].bmm(ones.t()[None]) == total).all()


@pytest.mark.parametrize("accumulation", BOTH)
def test_a_module_multiplies_like_the_function(accumulation: Accumulation) -> None:
    linear, x = torch.nn.Linear(64, 33, bias=False).half(), halves(2, 5, 64)
    with HalfProducts(accumulation):
        assert torch.equal(linear(x), functional.linear(x, linear.weight))
        assert linear(x).shape == (2, 5, 33)


def test_weights_are_not_confused_however_many_there_are() -> None:
    x, weights = halves(3, 8), [halves(4, 8, seed=seed) for seed in range(40)]
    with HalfProducts(Accumulation.FP32):
        found = [functional.linear(x, weight) for weight in weights * 2]
    assert all(torch.equal(a, b) for a, b in zip(found[:40], found[40:], strict=True))
    assert all(torch.equal(a, (x.float() @ w.float().t()).half()) for a, w in zip(found, weights, strict=False))


def test_sums_in_float32_are_rounded_once() -> None:
    x, weight = halves(40, 576, seed=3), halves(20, 576, seed=4)
    with HalfProducts(Accumulation.FP32):
        found = functional.linear(x, weight)
    exact = (x.double() @ weight.double().t()).numpy()
    step = np.spacing(np.abs(exact).astype(np.float16)).astype(np.float64)
    assert (np.abs(found.double().numpy() - exact) <= 0.5 * step + 1e-4).all()  # what float32 itself leaves open


def test_other_types_and_operators_are_left_alone() -> None:
    x = torch.randn(4, 8)
    with HalfProducts(Accumulation.FP16):
        assert torch.equal(functional.linear(x, x), x @ x.t())
        assert torch.equal(x.half() + x.half(), (x.half().float() * 2).half())


@contextmanager
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    products._library.cache_clear()
    yield
    products._library.cache_clear()


def test_missing_compiler_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with without_library(monkeypatch), pytest.raises(UserError, match=r"no-such-compiler.*sudo apt install g\+\+"):
        HalfProducts(Accumulation.FP16)
    HalfProducts(Accumulation.FP32)  # needs none


def test_compiler_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setattr(products, "user_cache_path", lambda _: tmp_path)
    with without_library(monkeypatch), pytest.raises(UserError, match="it is broken"):
        HalfProducts(Accumulation.FP16)


@pytest.mark.parametrize(
    ("sums", "found"),
    [
        ([2048.0] * 256, Accumulation.FP16),
        ([4096.0] * 256, Accumulation.FP32),
        ([4096.0] * 255 + [2048.0], None),
        ([4096.0] * 8, None),
        ([1.0] * 256, None),
        ([float("nan")] * 256, None),
        ([], None),
    ],
)
def test_answers_of_the_probe(sums: list[float], found: Accumulation | None) -> None:
    assert accumulation_of(sums) is found


def test_probe_finds_the_arithmetic_of_this_processor(accumulation: Accumulation) -> None:
    flags = Path("/proc/cpuinfo").read_text()
    expected = Accumulation.FP16 if "avx512_fp16" in flags or "asimdhp" in flags else Accumulation.FP32
    print(f"this processor: {expected}")
    assert accumulation is expected


@pytest.mark.parametrize(("processor", "expected"), [(PI_5, Accumulation.FP16), (NANO, Accumulation.FP32)])
def test_probe_finds_the_arithmetic_of_arm_processors(
    processor, expected: Accumulation, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    script = emulated_script(aarch64_runner, processor, tmp_path / "runner")
    print(f"{processor.emulated_as}: {expected}")
    assert probe(script, tmp_path) is expected


@pytest.mark.parametrize(("processor", "own"), [(PI_5, Accumulation.FP16), (NANO, Accumulation.FP32)])
def test_reference_with_the_devices_arithmetic_is_closer_than_with_the_other(
    processor,
    own: Accumulation,
    tiny: ModelWeights,
    exported: ArtifactOf,
    aarch64_runner: BuiltRunner,
    tmp_path: Path,
) -> None:
    """With lr = 0 no step builds on another. Seen: 1.9e-3 against 3.4e-3 (A76), 1.6e-3 against 3.1e-3 (A57)."""
    workload, still = workload_of("fp16"), Settings(lr=0.0, eps=0.1)
    batches = some_batches(workload, 3)
    script = emulated_script(aarch64_runner, processor, tmp_path / "runner")
    found = train_in_runner(script, exported(workload).program, workload, batches, 3, still, tmp_path / "run").losses
    errors = {}
    for accumulation in BOTH:
        reference = Reference(workload, tiny.config, tiny.state, accumulation)
        losses = reference.train(batches, 3, seed=still.seed, lr=0.0, eps=still.eps).losses
        errors[accumulation] = float(np.sqrt(np.mean((found - losses) ** 2)))
        if accumulation is own:
            noise = reference.loss_noise(batches[0], seed=still.seed, eps=still.eps, on_progress=lambda _: None)
            expected = ExpectedLosses(tuple(tuple(row.reshape(-1)) for row in losses), noise=noise, eps=still.eps)
    summary = ", ".join(f"{errors[each]:.1e} {each}" for each in BOTH)
    print(f"{processor.emulated_as}: {summary}, noise {noise:.1e}")
    (other,) = (each for each in BOTH if each is not own)
    assert errors[own] < errors[other] / 1.4
    compared = compare_losses([tuple(row.reshape(-1)) for row in found], expected)
    assert isinstance(compared, LossComparison) and compared.fault is None
