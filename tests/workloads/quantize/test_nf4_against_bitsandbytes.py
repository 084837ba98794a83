"""NF4 equals bitsandbytes': packed bytes, absmax and dequantized values, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from workloads.methods import operators  # registers the operators  # noqa: F401
from workloads.quantize.frozen import FrozenEmbedding, FrozenLinear
from workloads.quantize.nf4 import BLOCK, CODES, dequantize, quantize

if TYPE_CHECKING:
    from bitsandbytes.functional import QuantState


def by_bitsandbytes(weight: Tensor) -> tuple[Tensor, QuantState]:
    from bitsandbytes.functional import quantize_4bit  # takes seconds

    packed, state = quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4", compress_statistics=False)
    return packed.reshape(weight.shape[0], -1), state


def assert_same(weight: Tensor) -> None:
    from bitsandbytes.functional import dequantize_4bit

    packed, absmax = quantize(weight)
    wanted_packed, expected = by_bitsandbytes(weight)
    assert packed.dtype == torch.uint8
    assert torch.equal(packed, wanted_packed)
    assert absmax.dtype == torch.float32
    assert torch.equal(absmax, expected.absmax)
    # As one row: on CPUs bitsandbytes lets each row of several begin a block, which its own quantization doesn't.
    expected.shape = torch.Size((1, weight.numel()))
    values = dequantize_4bit(wanted_packed.reshape(-1, 1), expected).reshape(weight.shape)
    assert torch.equal(dequantize(packed, absmax), values)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_codes_are_those_of_bitsandbytes() -> None:
    _, state = by_bitsandbytes(numbers(1, 64))
    assert torch.equal(CODES, state.code)


@pytest.mark.parametrize("shape", [(8, 64), (3, 192), (64, 128), (1, 4096)])
@pytest.mark.parametrize("scale", [1e-6, 0.02, 1.0, 3e4])
def test_weights_of_any_size_are_equal(shape: tuple[int, int], scale: float) -> None:
    assert_same(numbers(*shape) * scale)


@pytest.mark.parametrize("shape", [(4, 96), (3, 32), (5, 2), (7, 50)])
def test_rows_that_are_not_a_multiple_of_a_block_are_equal(shape: tuple[int, int]) -> None:
    assert_same(numbers(*shape))


def test_block_of_zeros_stays_zero() -> None:
    weight = numbers(2, 128)
    weight[0, 64:] = 0.0
    assert_same(weight)
    assert torch.equal(dequantize(*quantize(weight))[0, 64:], torch.zeros(64))


def test_values_between_two_codes_round_alike() -> None:
    """Every midpoint between neighbouring codes, and the float32 numbers next to it, in blocks whose absmax is 1."""
    midpoints = (CODES[1:] + CODES[:-1]) / 2
    values = torch.cat(
        [
            torch.nextafter(midpoints, torch.tensor(-2.0)),
            midpoints,
            torch.nextafter(midpoints, torch.tensor(2.0)),
            CODES,
            torch.tensor([-0.0, 1e-30, -1e-30]),
        ]
    )
    assert values.numel() == 64
    values[-1] = 1.0
    assert_same(values.reshape(1, 64))


@pytest.mark.parametrize("absmax", [0.7, 3.0, 1e-3])
def test_midpoints_of_a_scaled_block_round_alike(absmax: float) -> None:
    midpoints = torch.cat([(CODES[1:] + CODES[:-1]) / 2, CODES[[0, 15]]]) * absmax
    assert_same(torch.nn.functional.pad(midpoints, (0, 64 - midpoints.numel())).reshape(1, 64))


def test_half_precision_weights_are_quantized_as_float32() -> None:
    weight = numbers(4, 64).half()
    for found, expected in zip(quantize(weight), quantize(weight.float()), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(10, 64), (10, 192), (10, 96), (16, 40)], ids=str)
def test_embedding_gives_the_rows_of_the_dequantized_table(shape: tuple[int, int]) -> None:
    packed, absmax = quantize(numbers(*shape))
    tokens = torch.tensor([[0, 3, 9], [9, 1, 1]])
    assert torch.equal(FrozenEmbedding(packed, absmax)(tokens), dequantize(packed, absmax)[tokens])


def test_linear_multiplies_with_the_dequantized_weight() -> None:
    packed, absmax = quantize(numbers(24, 128))
    x = numbers(2, 5, 128, seed=1)
    assert torch.equal(FrozenLinear(packed, absmax)(x), torch.nn.functional.linear(x, dequantize(packed, absmax)))


def test_error_of_a_weight_is_at_most_half_the_widest_gap_of_the_codes() -> None:
    weight = numbers(64, 256)
    packed, absmax = quantize(weight)
    gap = (CODES[1:] - CODES[:-1]).max()
    error = (dequantize(packed, absmax) - weight).abs().reshape(-1, BLOCK).amax(dim=1)
    assert (error <= absmax * gap / 2 * (1 + 1e-6)).all()
    assert (error > 0).any()
