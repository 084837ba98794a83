"""Programs of models whose layers differ from Llama's, in the runner, against the eager reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from tests.support.workloads.family_models import FAMILIES, family_model, save_family
from tests.support.workloads.training_runs import (
    Settings,
    reference_training,
    relative_error,
    some_batches,
    train_and_flush,
    train_in_runner,
)
from tests.support.workloads.wrong_trainings import follow_trainings, require_right_one_alone
from workloads.estimates.estimate import estimate
from workloads.export.artifact import ArtifactCache
from workloads.export.program import block_example, eager_parts
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.lowering.delegation import DelegatedPart, delegate
from workloads.models.config import BIASES, VECTORS, LayerForm, LlamaConfig, Rope
from workloads.models.huggingface import load_folder
from workloads.models.weights import ModelWeights
from workloads.models.zoo import random_weights
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.workload import Workload

pytestmark = pytest.mark.slow

PRGE = Workload("family", "fp32", q=2, b=2, T=32, rank=4)
BACKPROP = Workload("family", "fp32", q=1, b=2, T=32, rank=4, method="fo-lora-fa")
WORKLOADS = {
    "delegated": PRGE,
    "by kernel": replace(PRGE, quant="int8"),
    "back, delegated": BACKPROP,
    "back, by kernel": replace(BACKPROP, quant="int8"),
}
ROPES = (Rope(1e4), Rope(1e6, (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 8.0, 8.0)), None)
ALL_AT_ONCE = LlamaConfig(512, 64, 128, 3, 4, 2, 16, form=LayerForm(VECTORS, "gelu_tanh", 0.3, ROPES, 64))
"""With all that any family has; no two of its layers have the same rotary positions."""


def with_random_vectors(weights: ModelWeights) -> ModelWeights:
    """Norms and biases that change what is computed; drawn weights have ones."""
    generator = torch.Generator().manual_seed(1)
    state = {
        name: 0.3 * torch.randn(value.shape, generator=generator) + (0.0 if name.endswith(BIASES) else 1.0)
        if value.dim() == 1
        else value
        for name, value in weights.state.items()
    }
    return replace(weights, state=state, sha256=f"{weights.sha256[:-1]}v")


@pytest.fixture(scope="session")
def all_at_once() -> ModelWeights:
    return with_random_vectors(random_weights("all at once", ALL_AT_ONCE))


def require_training_of_the_reference(weights: ModelWeights, workload: Workload, runner: Path, folder: Path) -> None:
    """Trains three steps by the program, and compares losses and adapter with the eager reference's."""
    program = ArtifactCache(folder / "artifacts").export(workload, weights).program
    settings, batches = Settings(lr=2e-3, eps=0.05), some_batches(workload, 2)
    expected = reference_training(weights, workload, batches, 3, settings)
    if workload.method == "prge":
        losses, adapter = train_and_flush(runner, program, workload, batches, 3, settings, folder / "run")
    else:
        trained = train_in_runner(runner, program, workload, batches, 3, settings, folder / "run")
        losses, adapter = trained.losses, trained.adapter
    errors = np.abs(losses / expected.losses - 1.0).max(), relative_error(adapter, expected.adapter)
    print(f"{workload.quant} {workload.method}: losses off by {errors[0]:.1e}, adapter by {errors[1]:.1e}")
    assert errors[0] < 1e-4
    assert errors[1] < 2e-3


@pytest.mark.parametrize("way", WORKLOADS)
def test_a_program_with_all_that_families_have_trains_as_the_reference(
    way: str, all_at_once: ModelWeights, runner: Path, tmp_path: Path
) -> None:
    require_training_of_the_reference(all_at_once, WORKLOADS[way], runner, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("way", WORKLOADS)
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("llama", "linear")])
def test_programs_of_each_family_train_as_the_reference(name: str, way: str, runner: Path, tmp_path: Path) -> None:
    model = family_model(name, num_hidden_layers=4 if name in ("smollm3", "gemma3_text") else 2)
    weights = load_folder("family", save_family(model, tmp_path / "model"))
    require_training_of_the_reference(weights, WORKLOADS[way], runner, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("llama", "linear")])
def test_sessions_of_each_family_are_checked_in_every_setting(
    name: str, quant: str, runner: Path, accumulation: Accumulation, tmp_path: Path
) -> None:
    model = family_model(name, num_hidden_layers=4 if name in ("smollm3", "gemma3_text") else 2)
    weights, cache = (
        load_folder("family", save_family(model, tmp_path / "model")),
        ArtifactCache(tmp_path / "artifacts"),
    )
    workload = replace(PRGE, quant=quant, T=64)
    require_right_one_alone(
        follow_trainings(workload, weights, lambda each: cache.export(each, weights), runner, accumulation, tmp_path)
    )


@pytest.mark.parametrize("setting", ["fp16", "bf16", "int8-dynamic", "nf4"])
def test_layers_of_all_settings_are_near_those_of_fp32(setting: str, all_at_once: ModelWeights) -> None:
    """Eagerly: the vectors and tables are in each, by either kind of block."""
    x = torch.randn(1, PRGE.b * PRGE.T, 64, generator=torch.Generator().manual_seed(2))
    bias = torch.zeros(PRGE.b, 1, 1, PRGE.T, PRGE.T)
    found = {}
    for quant in ("fp32", setting):
        workload = replace(PRGE, quant=quant)
        parts = eager_parts(workload, all_at_once.config, all_at_once.state)
        adapters = [torch.zeros(1, slot.rank, slot.features, dtype=parts.products) for slot in parts.layout]
        slots = len(workload.targets)
        found[quant] = x
        for index, block in enumerate(parts.blocks):
            found[quant] = block(found[quant], bias, *adapters[index * slots : (index + 1) * slots])
    error = float((found[setting] - found["fp32"]).norm() / found["fp32"].norm())
    assert error < {"fp16": 5e-3, "bf16": 3e-2, "int8-dynamic": 1e-1, "nf4": 4e-1}[setting]


@pytest.mark.full
@pytest.mark.parametrize("setting", ["fp16", "int8-dynamic", "8da4w"])
def test_a_layer_of_other_settings_is_one_delegate_too(setting: str, all_at_once: ModelWeights) -> None:
    workload = replace(PRGE, quant=setting)
    parts = eager_parts(workload, all_at_once.config, all_at_once.state)
    (lowered,) = delegate([parts.blocks[0]], block_example(workload, parts))  # or raises NotDelegatedError
    assert isinstance(lowered, DelegatedPart)


@pytest.mark.parametrize("way", WORKLOADS)
def test_rows_longer_than_a_window_are_refused_before_the_export(way: str, all_at_once: ModelWeights) -> None:
    long = replace(WORKLOADS[way], T=65)
    with pytest.raises(UserError, match=r"T is 65, but layers of family see only 64 positions"):
        eager_parts(long, all_at_once.config, all_at_once.state)


@pytest.mark.parametrize("way", WORKLOADS)
def test_estimates_know_the_vectors(way: str) -> None:
    plain = replace(ALL_AT_ONCE, form=LayerForm())
    of_all, of_plain = (estimate(WORKLOADS[way], config) for config in (ALL_AT_ONCE, plain))
    assert of_all.weight_bytes - of_plain.weight_bytes == 4 * 3 * sum(ALL_AT_ONCE.vector_sizes().values())
