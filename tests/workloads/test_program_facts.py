"""What an export tells of its program: how it is cut, what runs outside of delegates, and how large it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from program_bounds import workload_of
from training_runs import ArtifactOf

from workloads.estimate import estimate
from workloads.export import export_program
from workloads.models.weights import ModelWeights

QUANTS = ("fp32", "fp16", "int8", "nf4")
LAYERS = 2

COUNTED = {
    "fp32": {"perturb.out": LAYERS, "update.out": 1, "embedding.out": 1},
    "fp16": {"perturb.out": LAYERS, "update.out": 1, "embedding.out": 1},
    "int8": {"perturb.out": LAYERS, "update.out": 1, "embedding.out": 2},
    "nf4": {"perturb.out": LAYERS, "update.out": 1, "embedding.out": 3, "linear_nf4.out": 7 * LAYERS + 1},
}
"""Operators of the runner, and look-ups of tokens: codes, scales."""

HEAVY = ("mm.out", "bmm.out", "addmm.out", "linear.out", "_softmax.out", "sigmoid.out")

ALLOWED_OUTSIDE = {"fp32": 60, "fp16": 76, "int8": 62, "nf4": 75}
"""Calls of other operators, none of which grows with the hidden states but by a cast: mask, losses, update."""


@pytest.mark.parametrize("quant", ["fp32", "fp16", "int8"])
def test_each_layer_and_the_head_are_one_partition(quant: str, exported: ArtifactOf) -> None:
    assert exported(workload_of(quant)).document["delegates"]["partitions"] == LAYERS + 1


def test_layer_with_nf4_products_is_four_partitions_and_the_norm_that_all_layers_share(exported: ArtifactOf) -> None:
    assert exported(workload_of("nf4")).document["delegates"]["partitions"] == 4 * LAYERS + 1


@pytest.mark.parametrize("quant", QUANTS)
def test_operators_outside_of_the_delegates_are_the_known_ones(quant: str, exported: ArtifactOf) -> None:
    """A change that pushes a layer's arithmetic out of its delegate shows here."""
    document = exported(workload_of(quant)).document
    operators = document["operators"]
    assert {name: operators.get(name, 0) for name in COUNTED[quant]} == COUNTED[quant]
    heavy = {name: operators[name] for name in HEAVY if name in operators}
    # The head of nf4 runs outside: its norm's mean is one product with a row.
    assert heavy == ({"mm.out": 1} if quant == "nf4" else {})
    others = sum(count for name, count in operators.items() if name not in COUNTED[quant])
    print(f"{quant}: {others} other operators of {ALLOWED_OUTSIDE[quant]} allowed")
    assert others <= ALLOWED_OUTSIDE[quant]
    assert document["delegates"]["other_nodes"] == sum(operators.values())


@pytest.mark.parametrize("quant", QUANTS)
def test_estimate_is_near_what_was_exported(quant: str, tiny: ModelWeights, exported: ArtifactOf) -> None:
    """Weights within 2 %. The program also holds the graph itself, some 100 KB whatever the model."""
    artifact = exported(workload_of(quant))
    expected = estimate(workload_of(quant), tiny.config)
    print(
        f"{quant}: weights {artifact.weight_bytes / expected.weight_bytes:.3f}, "
        f"program {artifact.program_bytes - expected.program_bytes} bytes more than estimated"
    )
    assert artifact.weight_bytes == pytest.approx(expected.weight_bytes, rel=0.02)
    assert 0 < artifact.program_bytes - expected.program_bytes < 150_000


def test_smaller_settings_have_smaller_weights_and_programs(exported: ArtifactOf) -> None:
    sizes = [exported(workload_of(quant)) for quant in QUANTS]
    for larger, smaller in pairwise(sizes):
        assert smaller.weight_bytes < larger.weight_bytes
        assert smaller.program_bytes < larger.program_bytes


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_views_of_one_storage_make_the_same_program(
    tiny: ModelWeights, exported: ArtifactOf, tmp_path: Path
) -> None:
    """As memory-mapped checkpoints give them; the first seven numbers of the storage belong to nobody."""
    flat = torch.cat([torch.ones(7), *(value.reshape(-1) for value in tiny.state.values())])
    views, offset = {}, 7
    for name, value in tiny.state.items():
        views[name] = flat[offset : offset + value.numel()].view(value.shape)
        offset += value.numel()
    workload = workload_of("fp32")
    facts = export_program(workload, tiny.config, views, tmp_path / "program.pte")
    artifact = exported(workload)
    assert (tmp_path / "program.pte").read_bytes() == artifact.program.read_bytes()
    assert facts.weight_bytes == artifact.weight_bytes
