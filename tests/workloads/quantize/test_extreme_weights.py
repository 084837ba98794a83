"""Weights at the ends of float32's range: each setting stores finite, normal numbers, or refuses the tensor by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from foundation.errors import UserError
from workloads.export.program import eager_parts
from workloads.methods import operators  # registers the operators  # noqa: F401
from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama
from workloads.models.weights import LazyTensors
from workloads.quantize import int4_groups, int8, nf4
from workloads.quantize.apply import LayeredModel, quantize_model
from workloads.quantize.frozen import dequantize
from workloads.quantize.int4_groups import GroupedInt4Linear
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.workload import Workload

SMALLEST = torch.finfo(torch.float32).tiny
WIDTH = 64
CONFIG = LlamaConfig(64, WIDTH, WIDTH, 2, 2, 1, 32)
TINY_MAGNITUDES = (0.0, 1e-45, 1e-40, 5e-39, SMALLEST, 2e-37, 1e-36, 2e-36, 1e-30)


def stored(weight: Tensor, setting: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns codes, scales and dequantized values."""
    if setting == "int8":
        codes, scale = int8.quantize(weight)
        return codes, scale, int8.dequantize(codes, scale)
    if setting == "8da4w":
        codes, scale = int4_groups.quantize(weight)
        return codes, scale, GroupedInt4Linear(codes, scale).dequantized()
    codes, scale = nf4.quantize(weight)
    scales = (scale,) if setting == "nf4" else nf4.compress_absmax(scale)
    return codes, torch.cat([part.to(torch.float32) for part in scales[-2:]]), dequantize(codes, scales)


def numbers(rows: int) -> Tensor:
    """Rows of WIDTH values from -1 to 1, both included."""
    row = torch.linspace(-1.0, 1.0, WIDTH)
    return torch.stack([row.roll(shift) for shift in range(rows)])


@pytest.mark.parametrize("setting", ["int8", "8da4w", "nf4", "nf4-double"])
@pytest.mark.parametrize("magnitude", TINY_MAGNITUDES)
def test_rows_of_any_small_size_are_stored_in_normal_numbers(setting: str, magnitude: float) -> None:
    _, scale, values = stored(numbers(4) * magnitude, setting)
    assert bool(scale.isfinite().all())
    assert bool(((scale == 0) | (scale.abs() >= SMALLEST)).all())
    if setting in ("int8", "8da4w"):
        from executorch.backends.xnnpack.utils.quant_utils import validate_quant_scales  # takes seconds

        validate_quant_scales(scale)  # XNNPACK's own check, at which an export ends
    # A quarter of the largest is more than half of any gap between codes; what has no normal scale becomes zero.
    assert float((values - numbers(4) * magnitude).abs().max()) <= max(0.25 * magnitude, 127 * SMALLEST)


@pytest.mark.parametrize(("setting", "steps"), [("int8", 127), ("8da4w", 7.5)])
def test_a_row_whose_scale_would_be_subnormal_has_codes_of_zero_and_scale_one(setting: str, steps: float) -> None:
    below, above = 0.9 * SMALLEST * steps, 1.1 * SMALLEST * steps
    weight = numbers(3)
    weight[0] *= below
    weight[1] *= above
    codes, scale, _ = stored(weight, setting)
    assert codes[0].count_nonzero() == 0
    assert bool((scale[0] == 1.0).all())
    assert codes[1].abs().max() >= 7
    assert bool((scale[1] < 1e-30).all())
    alone = stored(weight[2:], setting)
    assert torch.equal(codes[2], alone[0][0])


def test_the_row_of_a_public_report_is_stored_as_zeros() -> None:
    weight = numbers(2)
    weight[0] = 2e-37
    codes, scale = int8.quantize(weight)
    assert codes[0].count_nonzero() == 0
    assert float(scale[0]) == 1.0


@pytest.mark.parametrize("setting", ["nf4", "nf4-double"])
def test_a_block_of_subnormals_among_others_is_zero(setting: str) -> None:
    weight = numbers(4)
    weight[2] *= 1e-39
    _, _, values = stored(weight, setting)
    assert values[2].count_nonzero() == 0
    assert float((values[0] - weight[0]).abs().max()) < 0.16


@pytest.mark.parametrize("setting", ["int8", "8da4w", "nf4", "nf4-double"])
@pytest.mark.parametrize("magnitude", [1e5, 1e30, 3e38])
def test_rows_of_any_large_size_stay_finite(setting: str, magnitude: float) -> None:
    weight = numbers(40) * magnitude
    _, scale, values = stored(weight, setting)
    assert bool(scale.isfinite().all())
    assert bool(values.isfinite().all())
    assert float(((values - weight) / magnitude).abs().max()) < 0.17


def a_state(tensor: str, value: float) -> dict[str, Tensor]:
    """The tensors of a model of which one has one odd value."""
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(*shape, generator=generator) * 0.1 for name, shape in CONFIG.tensor_shapes().items()}
    state[tensor][3, 5] = value
    return state


TENSORS = ("model.layers.1.self_attn.v_proj.weight", "model.layers.0.mlp.down_proj.weight", "lm_head.weight")


@pytest.mark.parametrize("tensor", [*TENSORS, "model.embed_tokens.weight"])
@pytest.mark.parametrize(("setting", "value"), [("fp16", 65520.0), ("fp16", -1e5), ("bf16", 3.4e38), ("8da4w", 3.4e38)])
def test_a_value_beyond_the_range_of_a_setting_is_refused_by_name(tensor: str, setting: str, value: float) -> None:
    model = Llama.load(CONFIG, a_state(tensor, value))
    magnitude = f"{abs(value):.3g}".replace("+", r"\+")
    with pytest.raises(UserError, match=rf"{tensor} has a value of magnitude {magnitude}, .* too large for {setting}:"):
        quantize_model(model, setting)


@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
def test_the_largest_number_of_float16_is_taken_by_every_setting(setting: str) -> None:
    quantize_model(Llama.load(CONFIG, a_state(TENSORS[0], 65504.0)), setting)


@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_refused_by_name_in_every_setting(setting: str, value: float) -> None:
    state = a_state(TENSORS[0], value)
    read = LazyTensors({name: lambda found=found: found for name, found in state.items()})  # type: ignore[misc]
    with pytest.raises(UserError, match=rf"^1 of 2048 values of the weights' {TENSORS[0]} are not finite: "):
        LayeredModel(CONFIG, read, setting).layer(1)


@pytest.mark.parametrize(("quant", "alpha"), [("fp16", 1e8), ("bf16", 1e8), ("int8-dynamic", 1e8)])
def test_adapters_too_large_for_a_setting_are_refused_with_alpha(quant: str, alpha: float) -> None:
    workload = Workload(model="tiny", quant=quant, alpha=alpha)
    parts = eager_parts(workload, CONFIG, a_state(TENSORS[0], 0.0))
    if quant != "fp16":
        assert bool(parts.frozen_a(parts.layout[0]).isfinite().all())
        return
    with pytest.raises(UserError, match=r"^alpha is 1e\+08 and rank 16, .* too large for fp16: choose a lower alpha"):
        parts.blocks[0]
