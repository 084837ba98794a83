"""The shape of a model."""

import dataclasses
import math
from typing import Any

import pytest

from foundation.errors import UserError
from workloads.models.config import LlamaConfig
from workloads.models.named import ZOO


@pytest.mark.parametrize(
    ("name", "total"), [("smollm2-135m", 134_515_008), ("tinyllama-1.1b", 1_100_048_384), ("llama-2-7b", 6_738_415_616)]
)
def test_parameter_counts_equal_the_published_ones(name: str, total: int) -> None:
    assert ZOO[name].config.parameter_counts().total == total


@pytest.mark.parametrize("name", ZOO)
def test_parameter_counts_equal_the_sum_over_the_tensors(name: str) -> None:
    config = ZOO[name].config
    assert config.parameter_counts().total == sum(math.prod(shape) for shape in config.tensor_shapes().values())


@pytest.mark.parametrize("name", ZOO)
def test_rows_of_every_projection_are_whole_blocks_of_64(name: str) -> None:
    assert all(columns % 64 == 0 for _, columns in ZOO[name].config.linear_shapes().values())


def test_tied_output_head_has_no_tensor_and_no_parameters(config: LlamaConfig) -> None:
    tied = dataclasses.replace(config, tie_embeddings=True)
    assert "lm_head.weight" in config.tensor_shapes()
    assert "lm_head.weight" not in tied.tensor_shapes()
    assert tied.parameter_counts().output_head == 0


@pytest.mark.parametrize(
    ("change", "part"), [({"layers": 0}, "layers is 0"), ({"kv_heads": 3}, "3 kv_heads"), ({"head_dim": 15}, "is 15")]
)
def test_impossible_sizes_are_refused_with_the_number(config: LlamaConfig, change: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        dataclasses.replace(config, **change)


def test_shape_differences_name_what_differs_and_leave_out_what_changes_no_shape(config: LlamaConfig) -> None:
    other = dataclasses.replace(config, layers=7, rope_theta=1.0)
    assert config.shape_differences(other) == ["layers 7 instead of 3"]
