"""Double quantization equals bitsandbytes': codes, scales, offset and dequantized values, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama
from workloads.quantize import nf4
from workloads.quantize.apply import quantize_ends
from workloads.quantize.frozen import FrozenEmbedding, dequantize

if TYPE_CHECKING:
    from bitsandbytes.functional import QuantState


def by_bitsandbytes(weight: Tensor) -> tuple[Tensor, QuantState]:
    from bitsandbytes.functional import quantize_4bit  # takes seconds

    packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    return packed.reshape(weight.shape[0], -1), state


def assert_same(weight: Tensor) -> None:
    from bitsandbytes.functional import dequantize_4bit

    packed, absmax = nf4.quantize(weight)
    codes, scale, offset = nf4.compress_absmax(absmax)
    wanted, expected = by_bitsandbytes(weight)
    assert torch.equal(packed, wanted)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes, expected.absmax)
    assert torch.equal(scale, expected.state2.absmax)
    assert torch.equal(offset[0], expected.offset)
    # As one row: on CPUs bitsandbytes lets each row of several begin a block, which its own quantization doesn't.
    expected.shape = torch.Size((1, weight.numel()))
    values = dequantize_4bit(wanted.reshape(-1, 1), expected).reshape(weight.shape)
    assert torch.equal(dequantize(packed, (codes, scale, offset)), values)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_codes_are_those_of_bitsandbytes() -> None:
    from bitsandbytes.functional import create_dynamic_map

    assert torch.equal(nf4.ABSMAX_CODES, create_dynamic_map())


@pytest.mark.parametrize("shape", [(8, 64), (3, 192), (256, 64), (300, 576), (1000, 640), (7, 50)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 0.02, 1.0, 3e4])
def test_weights_of_any_size_are_equal(shape: tuple[int, int], scale: float) -> None:
    assert_same(numbers(*shape) * scale)


def test_rows_of_very_different_sizes_are_equal() -> None:
    assert_same(numbers(400, 128) * torch.logspace(-4, 2, 400)[:, None])


def test_blocks_that_all_have_one_absmax_are_equal() -> None:
    assert_same(torch.sign(numbers(16, 64)) * 0.5)
    assert_same(torch.zeros(4, 64))


def test_an_absmax_is_off_by_little() -> None:
    """The widest step of the codes is 1 / 64 of the largest deviation from the mean, of which half is the rounding."""
    _, absmax = nf4.quantize(numbers(500, 256))
    error = (nf4.expand_absmax(*nf4.compress_absmax(absmax)) - absmax).abs()
    assert (error <= (absmax - absmax.mean()).abs().max() / 64).all()
    assert (error > 0).any()


def test_a_matrix_quantized_in_parts_has_one_offset() -> None:
    config = LlamaConfig(2500, 64, 64, 1, 1, 1, 64, tie_embeddings=True)
    state = {name: numbers(*shape) for name, shape in config.tensor_shapes().items()}
    embedding = quantize_ends(Llama.load(config, state), "nf4-double")
    assert isinstance(embedding, FrozenEmbedding)
    packed, expected = by_bitsandbytes(state["model.embed_tokens.weight"])
    assert torch.equal(embedding.weight, packed)
    assert torch.equal(embedding.scales[0], expected.absmax)
    assert torch.equal(embedding.scales[2][0], expected.offset)
    tokens = torch.tensor([[0, 2499], [77, 3]])
    assert torch.equal(embedding(tokens), dequantize(embedding.weight, embedding.scales)[tokens])
