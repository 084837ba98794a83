"""Adapters in some layers alone: what lies below them is computed once for all perturbations, and not gone back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel
from transformers import LlamaConfig as TransformersConfig
from transformers import LlamaForCausalLM

from foundation.errors import UserError
from suite.planning.plan import Plan
from tests.support.workloads.program_bounds import ALLOWED, SETTINGS, workload_of
from tests.support.workloads.training_runs import (
    ArtifactOf,
    Settings,
    reference_training,
    relative_error,
    some_batches,
    train_and_flush,
    train_in_runner,
)
from workloads.estimates.estimate import estimate
from workloads.export.peft_folder import read_peft_folder, write_peft_folder
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.config import LlamaConfig
from workloads.models.weights import ModelWeights
from workloads.workload import Workload, adapter_values, layout_of

pytestmark = pytest.mark.slow  # real exports

CONFIG = LlamaConfig(
    vocab_size=512, hidden_size=64, intermediate_size=128, layers=3, heads=4, kv_heads=2, head_dim=16
)  # fmt: skip
SGD = Workload("tiny", "fp32", q=1, b=2, T=32, rank=4, method="fo-lora-fa", layers="1")


def top_of(quant: str) -> Workload:
    return replace(workload_of(quant), layers="1")


@pytest.mark.parametrize(
    "workload",
    [
        *(top_of(quant) for quant in ALLOWED),
        replace(top_of("fp32"), outer_parallel=False, inner_parallel=False),
        replace(top_of("fp32"), noise="stock"),
        replace(top_of("int8"), q=4, b=4, T=64),
        replace(top_of("nf4"), targets=("q_proj", "v_proj")),
        Workload("tiny", "fp32", q=2, b=2, T=32, rank=4, method="fzoo", layers="1"),
        *(replace(workload_of(quant), layers="0") for quant in ("fp32", "fp16", "nf4")),
    ],
    ids=[
        *(*ALLOWED, "in turn", "stock operators", "in chunks", "two projections", "one-sided"),
        *("first layer", "first layer, fp16", "first layer, nf4"),
    ],
)
def test_program_trains_as_the_reference_does(
    workload: Workload,
    tiny: ModelWeights,
    exported: ArtifactOf,
    runner: Path,
    accumulation: Accumulation,
    tmp_path: Path,
) -> None:
    batches = some_batches(workload, 2)
    settings = replace(SETTINGS, lr=1e-5) if workload.method == "fzoo" else SETTINGS
    expected = reference_training(tiny, workload, batches, 3, settings, accumulation=accumulation)
    program = exported(workload).program
    losses, adapter = train_and_flush(runner, program, workload, batches, 3, settings, tmp_path / "run")
    assert np.abs(losses / expected.losses - 1.0).max() < ALLOWED[workload.quant] / 5
    assert relative_error(adapter, expected.adapter) < ALLOWED[workload.quant]
    assert len(adapter) == adapter_values(layout_of(replace(workload, layers=None), tiny.config)) / 2


@pytest.mark.parametrize("layers", ["0", "1"])
@pytest.mark.parametrize("quant", ["fp32", "int8"])
def test_backpropagation_goes_back_to_the_lowest_adapter(
    quant: str, layers: str, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    workload, settings = replace(SGD, quant=quant, layers=layers), Settings(0.1, 0.0)
    batches = some_batches(workload, 2)
    expected = reference_training(tiny, workload, batches, 4, settings)
    artifact = exported(workload)
    trained = train_in_runner(runner, artifact.program, workload, batches, 4, settings, tmp_path / "run", threads=2)
    np.testing.assert_allclose(trained.losses, expected.losses, rtol=2e-5)
    assert relative_error(trained.adapter, expected.adapter) < 1e-4
    if quant == "fp32":
        # Forth and back with an adapter, forth without, and back without where that is needed.
        assert artifact.document["delegates"]["partitions"] == {"0": 4, "1": 3}[layers]
    else:
        assert artifact.document["operators"]["decoder_layer_back.out"] == {"0": 2, "1": 1}[layers]


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ("2", "layers is 2, but tiny has layers 0 to 1: choose some of them"),
        ("0-1", "layers is 0-1, but tiny has layers 0 to 1, so that is all: leave it out"),
        ("1-0", "which ends before it starts: write 0-1"),
        ("last", "'last', but it must be a range such as 15-24"),
    ],
)
def test_layers_that_the_model_has_not_are_refused(layers: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Plan(("local",), model="tiny", layers=layers)


@pytest.mark.parametrize("quant", ALLOWED)
def test_weights_file_is_that_of_adapters_in_all_layers(quant: str, exported: ArtifactOf) -> None:
    """A device gets the weights once."""
    top, all_layers = exported(top_of(quant)), exported(workload_of(quant))
    assert top.data[0].sha256 == all_layers.data[0].sha256
    assert top.data[1].sha256 != all_layers.data[1].sha256


def test_layers_below_are_called_once_however_many_passes_there_are(exported: ArtifactOf) -> None:
    workload = replace(top_of("int8"), outer_parallel=False, inner_parallel=False)
    assert exported(workload).document["operators"]["decoder_layer.out"] == 1 + 2 * workload.q


@pytest.mark.parametrize("workload", [top_of("fp32"), top_of("int8"), SGD], ids=["delegates", "kernels", "SGD"])
def test_estimates_count_what_lies_below_once(
    workload: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    artifact, needed = exported(workload), estimate(workload, tiny.config)
    trained = train_in_runner(
        runner, artifact.program, workload, some_batches(workload, 1), 3, Settings(1e-3, 0.1), tmp_path / "run"
    )
    assert 0.9 < needed.memory_bytes / 1024 / trained.peak_kib < 1.35
    assert 0.7 < needed.program_bytes / artifact.program_bytes < 1.5
    assert needed.flops_per_step < estimate(replace(workload, layers=None), tiny.config).flops_per_step


def test_peft_folder_names_the_layers_and_comes_back(tmp_path: Path) -> None:
    workload = replace(workload_of("fp32"), layers="1-2")
    adapter = np.arange(adapter_values(layout_of(workload, CONFIG)), dtype=np.float32)
    write_peft_folder(workload, CONFIG, adapter, "base", tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["layers_to_transform"] == [1, 2]
    assert np.array_equal(read_peft_folder(workload, CONFIG, tmp_path), adapter)
    with pytest.raises(UserError, match="adapts 2 layers, but 3 are to be trained, 0 to 2: use --layers 1-2"):
        read_peft_folder(replace(workload, layers=None), CONFIG, tmp_path)


def test_peft_adapts_these_layers_and_no_others(tmp_path: Path) -> None:
    workload = replace(workload_of("fp32"), layers="1-2")
    values = np.random.default_rng(0).standard_normal(adapter_values(layout_of(workload, CONFIG))).astype(np.float32)
    write_peft_folder(workload, CONFIG, values, "base", tmp_path)
    base = LlamaForCausalLM(
        TransformersConfig(
            vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2,
        )
    )  # fmt: skip
    found = dict(PeftModel.from_pretrained(base, str(tmp_path)).named_parameters())
    assert {name.split("layers.")[1][0] for name in found if "lora_B" in name} == {"1", "2"}
    some = next(value for name, value in found.items() if "layers.2.mlp.down_proj.lora_B" in name)
    slot = next(s for s in layout_of(workload, CONFIG) if (s.layer, s.projection) == (2, "down_proj"))
    expected = values[slot.offset : slot.offset + slot.size].reshape(slot.rank, slot.features).T
    assert np.array_equal(some.detach().numpy(), expected)


@pytest.mark.parametrize(("layers", "expected"), [("last-1", "1"), ("last-2", None), ("last-9", None)])
def test_the_last_layers_are_counted_from_the_end(layers: str, expected: str | None) -> None:
    assert Plan(("local",), model="tiny", layers=layers).layers == expected
