"""A of the adapters: Kaiming's bound, the factor alpha / rank folded in, its own numbers for each projection."""

from __future__ import annotations

import math

import pytest
import torch

from workloads.methods.adapter import LowRank, drawn_a
from workloads.models.named import model_config
from workloads.workload import LoraSettings, adapter_layout

CONFIG = model_config("smollm2-135m")


@pytest.mark.parametrize(("rank", "alpha"), [(16, 32.0), (4, 32.0), (16, 8.0), (64, 64.0)])
@pytest.mark.parametrize("projection", ["q_proj", "down_proj"])
def test_values_are_uniform_within_alpha_over_rank_by_the_root_of_the_inputs(
    rank: int, alpha: float, projection: str
) -> None:
    lora = LoraSettings(rank, alpha, (projection,))
    a = drawn_a(CONFIG, lora, adapter_layout(CONFIG, lora)[0], seed=0)
    inputs = {"q_proj": CONFIG.hidden_size, "down_proj": CONFIG.intermediate_size}[projection]
    bound = alpha / rank / math.sqrt(inputs)
    assert a.shape == (rank, inputs)
    assert 0.99 * bound < float(a.abs().max()) <= bound
    assert float(a.std()) == pytest.approx(bound / math.sqrt(3), rel=0.04)
    assert abs(float(a.mean())) < 0.05 * bound


def test_every_projection_and_every_seed_has_its_own_numbers() -> None:
    lora = LoraSettings(4, 32.0)
    slots = [slot for slot in adapter_layout(CONFIG, lora) if slot.projection in ("q_proj", "k_proj")][:4]
    matrices = [drawn_a(CONFIG, lora, slot, seed) for slot in slots for seed in (0, 1)]
    assert len({each.numpy().tobytes() for each in matrices}) == len(matrices)
    assert torch.equal(matrices[0], drawn_a(CONFIG, lora, slots[0], 0))


def test_each_slice_is_multiplied_by_its_own_b() -> None:
    generator = torch.Generator().manual_seed(3)
    a, x, b = (torch.randn(shape, generator=generator) for shape in ((4, 8), (3, 5, 8), (3, 4, 6)))
    found = LowRank(a)(x, b)
    for slice_, (of_x, of_b) in enumerate(zip(x, b, strict=True)):
        torch.testing.assert_close(found[slice_], of_x @ a.T @ of_b)
