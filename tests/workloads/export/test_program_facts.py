"""Facts about an exported program: its partitions, the operators outside of delegates, and its size."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.support.workloads.program_bounds import workload_of
from tests.support.workloads.training_runs import ArtifactOf
from workloads.estimates.estimate import estimate
from workloads.export.data_files import DataCache
from workloads.export.export import export_program
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import QUANTIZATION_SETTINGS

pytestmark = pytest.mark.slow

LAYERS = 2

KERNELS = {
    "update.out": 1,
    "embed.out": 1,
    "attention_bias.out": 1,
    "perturb.out": LAYERS,
    "answer_losses.out": 1,
    "collect_losses.out": 1,
    "mean_losses.out": 1,
    "gradient.out": 1,
}
"""The runner's own operators in a program of one chunk."""

WHOLE_LAYERS = {
    "decoder_layer.out": LAYERS,
    "_empty_dim_order.out": LAYERS,  # the layers' memory to work in
}

HEAD = {"rms_norm.out": 1, "linear_frozen.out": 1}
"""A head whose products the runner makes."""

DELEGATED = {"fp32": KERNELS, "fp16": KERNELS | HEAD, "int8-dynamic": KERNELS, "8da4w": KERNELS}
COUNTED = dict.fromkeys(QUANTIZATION_SETTINGS, KERNELS | WHOLE_LAYERS | HEAD) | DELEGATED

WRITE_BACK = {"copy_.default": 2}
"""Projected gradient and key; the adapter is updated where it lies."""


@pytest.mark.parametrize(("quant", "heads"), [("fp32", 1), ("fp16", 0), ("int8-dynamic", 1), ("8da4w", 1)])
def test_each_layer_and_a_delegated_head_are_one_partition(quant: str, heads: int, exported: ArtifactOf) -> None:
    assert exported(workload_of(quant)).document["delegates"]["partitions"] == LAYERS + heads


@pytest.mark.parametrize("quant", [name for name in QUANTIZATION_SETTINGS if name not in DELEGATED])
def test_program_by_kernels_has_no_partitions_and_one_operator_for_a_layer(quant: str, exported: ArtifactOf) -> None:
    document = exported(workload_of(quant)).document
    assert document["delegates"]["partitions"] == 0
    assert document["operators"]["decoder_layer.out"] == LAYERS


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_operators_outside_of_the_delegates_are_the_known_ones(quant: str, exported: ArtifactOf) -> None:
    """Catches changes that push a layer's arithmetic out of its delegate."""
    document = exported(workload_of(quant)).document
    assert document["operators"] == COUNTED[quant] | WRITE_BACK
    assert document["delegates"]["other_nodes"] == sum(document["operators"].values())


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_estimate_is_close_to_the_export(quant: str, tiny: ModelWeights, exported: ArtifactOf) -> None:
    """Weights are within 2 %. A small program is mostly its graph, whose size is only known roughly."""
    artifact = exported(workload_of(quant))
    expected = estimate(workload_of(quant), tiny.config)
    print(
        f"{quant}: weights {artifact.weight_bytes / expected.weight_bytes:.3f}, "
        f"program {artifact.program_bytes / expected.program_bytes:.3f}, "
        f"with data {artifact.deployed_bytes / expected.deployed_bytes:.3f} of the estimate"
    )
    assert artifact.weight_bytes == pytest.approx(expected.weight_bytes, rel=0.02)
    assert artifact.program_bytes == pytest.approx(expected.program_bytes, rel=0.3)
    assert artifact.deployed_bytes == pytest.approx(expected.deployed_bytes, rel=0.1)
    sizes = [file.size_bytes for file in artifact.data]
    assert sizes == pytest.approx([expected.weights_file_bytes, expected.adapters_file_bytes], rel=0.1)


def test_smaller_settings_have_smaller_weights_and_files(exported: ArtifactOf) -> None:
    """nf4-double has three tensors for each of nf4's scales: on a model as small as this, their places take more."""
    sizes = [exported(workload_of(quant)) for quant in ("fp32", "fp16", "int8", "nf4", "nf4-double")]
    for larger, smaller in pairwise(sizes):
        assert smaller.weight_bytes < larger.weight_bytes
    for larger, smaller in pairwise(sizes[:-1]):
        assert smaller.deployed_bytes < larger.deployed_bytes


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_views_of_one_storage_give_the_same_program(
    tiny: ModelWeights, exported: ArtifactOf, tmp_path: Path
) -> None:
    """Views as from memory-mapped checkpoints; the first seven numbers of the storage are unused."""
    flat = torch.cat([torch.ones(7), *(value.reshape(-1) for value in tiny.state.values())])
    views, offset = {}, 7
    for name, value in tiny.state.items():
        views[name] = flat[offset : offset + value.numel()].view(value.shape)
        offset += value.numel()
    workload = workload_of("fp32")
    facts = export_program(
        workload, dataclasses.replace(tiny, state=views), tmp_path / "program.pte", DataCache(tmp_path / "weights")
    )
    artifact = exported(workload)
    assert [file.sha256 for file in facts.data] == [file.sha256 for file in artifact.data]
    assert (tmp_path / "program.pte").read_bytes() == artifact.program.read_bytes()
    assert facts.weight_bytes == artifact.weight_bytes
