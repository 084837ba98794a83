"""Models are processed without being in memory as a whole, with the same results."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import workloads.estimates.estimate
import workloads.quantize.apply
import workloads.reference.eager
from tests.support.workloads.training_runs import Settings, some_batches
from workloads.estimates.estimate import (
    affordable_steps,
    estimate,
    export_peak_bytes,
    reference_peak_bytes,
    step_seconds,
)
from workloads.export.data_files import DataCache
from workloads.export.shared_constants import share_constants
from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama
from workloads.models.named import model_config
from workloads.models.weights import ModelWeights
from workloads.models.zoo import random_weights
from workloads.quantize import int4_groups, int8, nf4
from workloads.quantize.apply import LayeredModel, MadeOnDemand, quantize_model
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.reference.eager import Reference
from workloads.workload import Workload

SETTINGS = Settings(lr=1e-3, eps=0.1, seed=3)
DEEP = LlamaConfig(512, 64, 128, 12, 4, 2, 16, max_positions=512)


class CountedTensors(Mapping[str, Tensor]):
    """A state dict that counts the bytes of its tensors that are alive, and their peak."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self.alive_bytes = self.peak_bytes = 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._state[name].clone()
        size = tensor.numel() * tensor.element_size()
        self.alive_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
        weakref.finalize(tensor.untyped_storage(), self._gone, size)
        return tensor

    def _gone(self, size: int) -> None:
        self.alive_bytes -= size

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


@pytest.mark.slow
@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
def test_layers_made_one_by_one_equal_those_of_the_whole_model(setting: str, tiny: ModelWeights) -> None:
    whole = Llama.load(tiny.config, tiny.state)
    quantize_model(whole, setting)
    model = LayeredModel(tiny.config, tiny.state, setting)
    for index, layer in enumerate(whole.layers):
        found = model.layer(index).state_dict()
        assert found.keys() == layer.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in layer.state_dict().items())
    ends = {name: value for name, value in whole.state_dict().items() if not name.startswith("model.layers.")}
    found = model.ends.state_dict()
    assert found.keys() == ends.keys()
    assert all(torch.equal(found[name], value) for name, value in ends.items())


@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
def test_a_layered_model_holds_a_layer_at_a_time(setting: str) -> None:
    weights = random_weights("deep", DEEP)
    state = CountedTensors(weights.state)
    model = LayeredModel(DEEP, state, setting)
    table, layer = 4 * 512 * 64, 4 * sum(rows * columns for rows, columns in DEEP.linear_shapes().values())
    for index in range(DEEP.layers):
        model.layer(index)
    assert state.peak_bytes <= 2 * table + 2 * layer


@pytest.mark.parametrize(
    ("quantize", "width"),
    [(int8.quantize, 24), (nf4.quantize, 24), (int4_groups.quantize, 64)],  # blocks of nf4 reach across rows
)
def test_quantizing_a_part_of_the_rows_at_a_time_changes_nothing(quantize, width: int) -> None:
    weight = torch.randn(2500, width, generator=torch.Generator().manual_seed(0))
    found = workloads.quantize.apply._by_rows(quantize)(weight)
    assert all(torch.equal(a, b) for a, b in zip(found, quantize(weight), strict=True))


def test_entries_made_on_demand_are_made_again_except_the_last() -> None:
    made: list[int] = []
    entries = MadeOnDemand(3, lambda index: made.append(index) or index * 10)
    assert [entries[0], entries[0], *entries, entries[-1], *entries[1:]] == [0, 0, 0, 10, 20, 20, 10, 20]
    assert made == [0, 1, 2, 1, 2]
    with pytest.raises(IndexError):
        entries[3]


@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
def test_writing_the_data_files_holds_a_layer_at_a_time(setting: str, tmp_path: Path) -> None:
    weights = random_weights("deep", DEEP)
    state = CountedTensors(weights.state)
    cache = DataCache(tmp_path)
    share_constants(Workload("deep", setting, q=1, b=1, T=8, rank=4), replace(weights, state=state), cache)
    table, layer = 4 * 512 * 64, 4 * sum(rows * columns for rows, columns in DEEP.linear_shapes().values())
    # The first layer, which all others are copies of, and two more while one takes the other's place.
    assert state.peak_bytes <= 2 * table + 4 * layer


@pytest.mark.parametrize("setting", QUANTIZATION_SETTINGS)
def test_the_reference_has_the_same_losses_in_less_memory(
    setting: str, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = Workload("tiny", setting, q=3, b=2, T=16, rank=4)
    batches = some_batches(workload, 2)

    def trained() -> tuple[np.ndarray, np.ndarray]:
        reference = Reference(workload, tiny.config, tiny.state)
        found = reference.train(batches, 2, seed=SETTINGS.seed, lr=SETTINGS.lr, eps=SETTINGS.eps)
        return found.losses, found.adapter

    losses, adapter = trained()
    # First, stored layers are kept (none for fp32), then none are; one query and one row at a time.
    for limit_bytes in (tiny.config.layers * 40_000, 0):
        monkeypatch.setattr(workloads.reference.eager, "KEPT_BYTES", limit_bytes)
        monkeypatch.setattr(workloads.reference.eager, "GROUP_BYTES", 1)
        monkeypatch.setattr(workloads.estimates.estimate, "GROUP_BYTES", 1)
        again, adapter_again = trained()
        np.testing.assert_allclose(again, losses, rtol=1e-5)
        np.testing.assert_allclose(adapter_again, adapter, rtol=1e-3, atol=1e-6)


def test_the_reference_does_what_is_affordable() -> None:
    tiny, smollm2 = model_config("tiny"), model_config("smollm2-135m")
    assert affordable_steps(Workload("tiny", "fp32"), tiny, 3) == 3
    assert affordable_steps(Workload("smollm2-135m", "nf4"), smollm2, 3) == 3
    assert affordable_steps(Workload("tiny", "fp32", q=1024, b=1024), tiny, 3) == 0
    some = Workload("smollm2-135m", "fp32", q=16, b=16)
    assert affordable_steps(some, smollm2, 3) in (1, 2)
    assert step_seconds(some, smollm2) > 10 * step_seconds(Workload("smollm2-135m", "fp32"), smollm2)


def test_every_setting_of_a_model_of_a_billion_values_can_be_exported_with_8_gigabytes() -> None:
    config = model_config("tinyllama-1.1b")
    for quant in QUANTIZATION_SETTINGS:
        workload = Workload("tinyllama-1.1b", quant)
        assert estimate(workload, config).export_memory_bytes < 5 << 30
    seven = model_config("llama-2-7b")
    assert estimate(Workload("llama-2-7b", "nf4", q=1, b=1), seven).export_memory_bytes < 6 << 30
    assert export_peak_bytes(Workload("llama-2-7b", "fp32"), seven) < 6 << 30
    assert reference_peak_bytes(Workload("llama-2-7b", "fp32"), seven) == 0
