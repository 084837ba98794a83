"""Adapters as PEFT folders: what PEFT computes with them, the way back, and folders that don't fit."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch
from torch.nn.functional import cross_entropy

from foundation.errors import UserError
from tests.support.workloads.in_transformers import transformers_model
from tests.support.workloads.training_runs import some_batches
from workloads.export.peft_folder import read_peft_folder, write_peft_folder
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Reference
from workloads.workload import Workload, adapter_values, layout_of

WORKLOAD = Workload("tiny", "fp32", q=1, b=2, T=16, rank=4, alpha=8.0, targets=("q_proj", "v_proj", "down_proj"))


@pytest.fixture
def adapter(tiny: ModelWeights) -> torch.Tensor:
    values = adapter_values(layout_of(WORKLOAD, tiny.config))
    return 0.2 * torch.randn(values, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def folder(tiny: ModelWeights, adapter: torch.Tensor, tmp_path: Path) -> Path:
    write_peft_folder(WORKLOAD, tiny.config, adapter.numpy(), "tiny", tmp_path / "adapter")
    return tmp_path / "adapter"


def test_peft_computes_the_loss_of_the_reference_with_it(
    tiny: ModelWeights, adapter: torch.Tensor, folder: Path
) -> None:
    from peft import PeftModel  # takes seconds

    (batch,) = some_batches(WORKLOAD, 1)
    model: Any = PeftModel.from_pretrained(transformers_model(tiny), str(folder))
    mask = torch.arange(WORKLOAD.T)[None, :] >= torch.from_numpy(batch.first)[:, None]
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(batch.tokens), attention_mask=mask.long()).logits[:, -1]
        plain = transformers_model(tiny)(input_ids=torch.from_numpy(batch.tokens), attention_mask=mask.long()).logits
    loss = cross_entropy(logits, torch.from_numpy(batch.labels[:, 0])).item()
    assert loss == pytest.approx(Reference(WORKLOAD, tiny.config, tiny.state).loss(adapter, batch), rel=1e-5)
    assert abs(cross_entropy(plain[:, -1], torch.from_numpy(batch.labels[:, 0])).item() - loss) > 1e-2


def test_an_adapter_comes_back_as_it_was(tiny: ModelWeights, adapter: torch.Tensor, folder: Path) -> None:
    assert np.array_equal(read_peft_folder(WORKLOAD, tiny.config, folder), adapter.numpy())
    rounded = replace(WORKLOAD, quant="fp16")  # whose A is rounded to float16
    assert np.array_equal(read_peft_folder(rounded, tiny.config, folder), adapter.numpy())


def test_what_peft_saves_has_the_names_and_shapes_that_are_expected(
    tiny: ModelWeights, folder: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    theirs = LoraConfig(r=4, lora_alpha=8, target_modules=list(WORKLOAD.targets), bias="none", task_type="CAUSAL_LM")
    get_peft_model(transformers_model(tiny), theirs).save_pretrained(str(tmp_path / "theirs"))
    ours, saved = (load_file(path / "adapter_model.safetensors") for path in (folder, tmp_path / "theirs"))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in saved.items()}
    with pytest.raises(UserError, match=r"an A of .*q_proj that differs"):
        read_peft_folder(WORKLOAD, tiny.config, tmp_path / "theirs")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"rank": 2}, "has rank 4, but 2 is to be trained: use --rank 4"),
        ({"alpha": 32.0}, "has alpha 8, but 32 is to be trained: use --alpha 8"),
        ({"targets": ("q_proj",)}, "adapts q_proj,v_proj,down_proj, but q_proj are to be trained"),
    ],
)
def test_an_adapter_of_another_workload_is_refused_with_what_to_choose(
    tiny: ModelWeights, folder: Path, changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_peft_folder(replace(WORKLOAD, **changed), tiny.config, folder)


def test_damaged_folders_are_refused_in_a_sentence(tiny: ModelWeights, folder: Path) -> None:
    tensors, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    whole = load_file(tensors)
    name = next(name for name in whole if name.endswith("lora_B.weight"))
    save_file({key: value for key, value in whole.items() if key != name}, tensors)
    with pytest.raises(UserError, match="is missing, but it must be"):
        read_peft_folder(WORKLOAD, tiny.config, folder)
    tensors.write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match="can't be read"):
        read_peft_folder(WORKLOAD, tiny.config, folder)
    for damage, sentence in ((b"[]", "give a LoRA adapter"), (b"{", "give a LoRA adapter"), (b'{"r": 4}', "peft_type")):
        config.write_bytes(damage)
        with pytest.raises(UserError, match=sentence):
            read_peft_folder(WORKLOAD, tiny.config, folder)
    config.write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": [], "use_dora": True})
    )
    with pytest.raises(UserError, match="not a plain LoRA"):
        read_peft_folder(WORKLOAD, tiny.config, folder)
    config.unlink()
    with pytest.raises(UserError, match="as PEFT saves them"):
        read_peft_folder(WORKLOAD, tiny.config, folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 5000,
        '{"r": 1' + "0" * 5000 + "}",
        '{"a": [' + "0," * 600_000 + "0]}",
        '"\\ud800"',
        "[]",
        '{"r": "\x1b[2J"}',
    ],
)
def test_a_configuration_that_is_none_is_one_sentence(tiny: ModelWeights, folder: Path, text: str) -> None:
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        read_peft_folder(WORKLOAD, tiny.config, folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_no_file_is_refused(tiny: ModelWeights, folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="is a pipe"):
        read_peft_folder(WORKLOAD, tiny.config, folder)


def test_tensors_of_a_type_that_nobody_knows_are_refused(tiny: ModelWeights, folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F1_ODD", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(UserError, match="can't be read"):
        read_peft_folder(WORKLOAD, tiny.config, folder)


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_an_adapter_with_values_that_are_not_finite_is_refused(tiny: ModelWeights, folder: Path, part: str) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {name: torch.from_numpy(values) for name, values in load_file(path).items()}
    next(values for name, values in tensors.items() if part in name)[0, 0] = float("nan")
    save_torch(tensors, path)
    with pytest.raises(UserError, match=f"{part}.* has values that are not finite"):
        read_peft_folder(WORKLOAD, tiny.config, folder)


def test_an_adapter_in_bfloat16_is_read_and_its_a_compared(tiny: ModelWeights, folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_torch({name: torch.from_numpy(values).bfloat16() for name, values in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"has an A of .* that differs"):
        read_peft_folder(WORKLOAD, tiny.config, folder)
