"""8da4w: weights of 4 bits in groups of 32, as they are computed with and as they are written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from foundation.errors import UserError
from workloads.models.config import LlamaConfig
from workloads.quantize.int4_groups import GROUP, GroupedInt4Linear, quantize, written_constants
from workloads.quantize.settings import SETTINGS


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("magnitude", [1e-6, 0.02, 1.0, 3e4])
def test_round_trip_errs_by_half_a_step_or_the_clipped_half_step_at_the_top(magnitude: float) -> None:
    """The largest value of a group is 7.5 steps, of which 7 are left if it is positive."""
    weight = numbers(16, 96) * magnitude
    codes, scale = quantize(weight)
    assert (int(codes.min()), int(codes.max())) == (-8, 7)
    assert torch.equal(scale, scale.to(torch.bfloat16).to(torch.float32))
    error = (GroupedInt4Linear(codes, scale).dequantized() - weight).abs().reshape(16, -1, GROUP)
    assert (error <= scale[..., None] * (0.5 + 7.5 * 2**-8)).all()
    assert (error > 0.25 * scale[..., None]).any()


def test_group_of_zeros_stays_zero() -> None:
    codes, scale = quantize(torch.zeros(2, 64))
    assert codes.count_nonzero() == 0
    assert scale.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_codes_are_written_two_a_byte() -> None:
    codes, scale = quantize(numbers(4, 64))
    model = torch.nn.Sequential(torch.nn.Identity(), GroupedInt4Linear(codes, scale))
    written = written_constants(model)
    assert written.keys() == {"1.weight", "1.scale"}
    low, high = (written["1.weight"] & 15).int() - 8, (written["1.weight"] >> 4).int() - 8
    assert torch.equal(torch.stack([low, high], dim=-1).reshape(4, 64), codes.int())
    assert torch.equal(written["1.scale"].to(torch.float32), scale)


def test_a_model_whose_rows_are_no_multiple_of_a_group_is_refused() -> None:
    config = LlamaConfig(64, 48, 96, 1, 3, 1, 16)
    with pytest.raises(
        UserError, match=r"^8da4w stores rows in groups of 32 values, but those of self_attn.q_proj have 48"
    ):
        SETTINGS["8da4w"].require_rows(config)
    SETTINGS["nf4"].require_rows(config)
