"""int8: symmetric weights by output channel. int8-dynamic: the same, and activations by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workloads.methods import operators  # registers the operators  # noqa: F401
from workloads.quantize.frozen import FrozenEmbedding, FrozenLinear
from workloads.quantize.int8 import DynamicInt8Linear, dequantize, quantize


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_scale_of_a_row_is_its_largest_magnitude_over_127() -> None:
    weight = torch.tensor([[0.5, -2.54, 1.0], [127.0, 3.0, -4.0]])
    codes, scale = quantize(weight)
    torch.testing.assert_close(scale, torch.tensor([2.54 / 127, 1.0]))
    assert codes.dtype == torch.int8
    assert codes.tolist() == [[25, -127, 50], [127, 3, -4]]


def test_row_of_zeros_has_scale_one_and_stays_zero() -> None:
    codes, scale = quantize(torch.zeros(2, 4))
    assert codes.count_nonzero() == 0
    assert scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("magnitude", [1e-6, 0.02, 1.0, 3e4])
def test_round_trip_errs_by_half_a_step_at_most(magnitude: float) -> None:
    weight = numbers(32, 96) * magnitude
    codes, scale = quantize(weight)
    error = (codes * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * (0.5 + 1e-5)).all()
    assert (error > 0.25 * scale[:, None]).any()


def test_minus_128_is_never_used() -> None:
    codes, _ = quantize(-numbers(64, 64).abs())
    assert codes.min() == -127


def test_half_precision_weights_are_quantized_as_float32() -> None:
    weight = numbers(4, 64).half()
    for found, expected in zip(quantize(weight), quantize(weight.float()), strict=True):
        assert torch.equal(found, expected)


def test_embedding_gives_the_rows_of_the_dequantized_table() -> None:
    codes, scale = quantize(numbers(10, 24))
    tokens = torch.tensor([[0, 3, 9], [9, 1, 1]])
    assert torch.equal(FrozenEmbedding(codes, scale)(tokens), (codes * scale[:, None])[tokens])


def test_linear_of_int8_multiplies_float32_activations_with_the_dequantized_weight() -> None:
    codes, scale = quantize(numbers(16, 48))
    x = numbers(2, 5, 48, seed=1)
    assert torch.equal(dequantize(codes, scale), codes * scale[:, None])
    assert torch.equal(FrozenLinear(codes, scale)(x), torch.nn.functional.linear(x, codes * scale[:, None]))


def test_linear_rounds_its_input_to_256_steps_of_each_token() -> None:
    """The range of a token, zero included, is cut into 255 steps; each value moves by one step at most."""
    codes, scale = quantize(numbers(16, 48))
    x = numbers(2, 5, 48, seed=1) * torch.tensor([0.01, 1.0, 50.0, 1.0, 1.0])[None, :, None]
    exact = torch.nn.functional.linear(x, codes * scale[:, None])
    step = (x.amax(dim=-1).clamp(min=0) - x.amin(dim=-1).clamp(max=0)) / 255
    allowed = step[..., None] * (codes * scale[:, None]).abs().sum(dim=1)
    error = (DynamicInt8Linear(codes, scale)(x) - exact).abs()
    assert (error <= allowed).all()
    assert (error > 0).any()


def test_each_token_is_quantized_by_itself() -> None:
    codes, scale = quantize(numbers(16, 48))
    x = numbers(2, 48, seed=1)
    louder = x.clone()
    louder[1] *= 100.0
    linear = DynamicInt8Linear(codes, scale)
    assert torch.equal(linear(x)[0], linear(louder)[0])
    assert not torch.equal(linear(x)[1], linear(louder)[1])
