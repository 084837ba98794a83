"""Hugging Face folders: one file or shards, types, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from foundation.errors import UserError
from workloads.models.huggingface import load_folder
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.models.weights import ModelWeights

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def rewrite(path: Path, **changes: object) -> None:
    """Changes keys of a JSON file; None removes one."""
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def shard(folder: Path, weights: ModelWeights) -> None:
    """Spreads the weights over two files with an index."""
    (folder / "model.safetensors").unlink()
    names = list(weights.state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: weights.state[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_round_trip_gives_the_same_model(folder: Path, original: ModelWeights) -> None:
    loaded = load_folder("small", folder)
    assert loaded.config == original.config
    assert list(loaded.state) == list(original.config.tensor_shapes())
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in original.state.items())
    assert (loaded.tokenizer.bos_id, loaded.tokenizer.eos_id, loaded.tokenizer.pad_id) == (1, 2, 2)


def test_folder_that_transformers_saved_is_read(
    tmp_path: Path, reference: LlamaForCausalLM, original: ModelWeights
) -> None:
    reference.save_pretrained(tmp_path / "saved", max_shard_size="100KB")
    byte_level_tokenizer().backend.save(str(tmp_path / "saved" / "tokenizer.json"))
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    loaded = load_folder("small", tmp_path / "saved")
    assert loaded.config == original.config
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in original.state.items())


def test_shards_give_the_same_tensors(folder: Path, original: ModelWeights) -> None:
    shard(folder, original)
    loaded = load_folder("small", folder)
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in original.state.items())


def test_missing_shard_is_named(folder: Path, original: ModelWeights) -> None:
    shard(folder, original)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks model-00002-of-00002.safetensors, one of its 2 shards"):
        load_folder("small", folder)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "a" * 5000])
def test_shard_outside_the_folder_is_refused(folder: Path, original: ModelWeights, name: str) -> None:
    shard(folder, original)
    index = folder / "model.safetensors.index.json"
    rewrite(index, weight_map={"model.norm.weight": name})
    with pytest.raises(UserError, match="not the name of a file in the folder"):
        load_folder("small", folder)


@pytest.mark.parametrize(("stored", "read"), [(torch.float16, torch.float16), (torch.bfloat16, torch.float32)])
def test_half_precision_is_kept_and_bfloat16_is_widened(
    folder: Path, original: ModelWeights, stored: torch.dtype, read: torch.dtype
) -> None:
    save_file({name: tensor.to(stored) for name, tensor in original.state.items()}, folder / "model.safetensors")
    tensor = load_folder("small", folder).state["lm_head.weight"]
    assert tensor.dtype == read
    assert torch.equal(tensor.float(), original.state["lm_head.weight"].to(stored).float())


def test_hash_changes_with_the_weights_and_with_the_tokenizer(folder: Path, original: ModelWeights) -> None:
    first = load_folder("small", folder).sha256
    assert load_folder("small", folder).sha256 == first
    changed = dict(original.state)
    changed["model.norm.weight"] = torch.full((64,), 2.0)
    save_file(changed, folder / "model.safetensors")
    second = load_folder("small", folder).sha256
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    assert len({first, second, load_folder("small", folder).sha256}) == 3


def test_copy_of_a_tied_output_head_is_left_out(folder: Path, original: ModelWeights) -> None:
    rewrite(folder / "config.json", tie_word_embeddings=True)
    copied = dict(original.state) | {"lm_head.weight": original.state["model.embed_tokens.weight"].clone()}
    save_file(copied, folder / "model.safetensors")
    loaded = load_folder("small", folder)
    assert loaded.config.tie_embeddings
    assert "lm_head.weight" not in loaded.state


def test_an_output_head_that_differs_from_the_embedding_is_not_tied(folder: Path, original: ModelWeights) -> None:
    """Whatever config.json says: the head is there, and transformers takes it."""
    rewrite(folder / "config.json", tie_word_embeddings=True)
    loaded = load_folder("small", folder)
    assert not loaded.config.tie_embeddings
    assert torch.equal(loaded.state["lm_head.weight"], original.state["lm_head.weight"])


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "architecture": ({"model_type": "gpt2"}, "type 'gpt2': only llama, mistral, qwen2"),
    "no architecture": ({"model_type": None}, "only llama, mistral"),
    "attention bias": ({"attention_bias": True}, "attention_bias is True"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act is gelu"),
    "quantized": ({"quantization_config": {"bits": 4}}, "quantization_config is"),
    "rope scaling": ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor of its rotary"),
    "old rope scaling": ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic' rotary scaling"),
    "new rope scaling": ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "'yarn' rotary scaling"),
    "word for a number": ({"hidden_size": "wide"}, "hidden_size must be a whole number, but it is wide"),
    "absent number": ({"num_hidden_layers": None}, "num_hidden_layers must be a whole number"),
    "word for a base": ({"rope_theta": "big"}, "rope_theta and rms_norm_eps must be numbers"),
    "other width": ({"intermediate_size": 192}, r"gate_proj.weight has shape \[128, 64\], but .* \[192, 64\]"),
    "other depth": ({"num_hidden_layers": 4}, "lacks 9 of 39 tensors"),
    "absurd depth": ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000, more than"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_configuration_that_does_not_fit_is_refused(folder: Path, case: str) -> None:
    changes, message = REFUSED[case]
    rewrite(folder / "config.json", **changes)
    with pytest.raises(UserError, match=message):
        load_folder("small", folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_truncated_weights_are_refused_in_one_sentence(
    folder: Path, cut: Callable[[Path, float], None], share: float
) -> None:
    cut(folder / "model.safetensors", share)
    with pytest.raises(UserError, match=r"ends early at \d+ bytes"):
        load_folder("small", folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        load_folder("small", folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_damaged_json_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(UserError, match=f"{name} can't be read as JSON"):
        load_folder("small", folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_json_that_is_nested_too_deep_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("[" * 100_000)
    with pytest.raises(UserError, match=f"{name} can't be read as JSON"):
        load_folder("small", folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, original: ModelWeights, value: float) -> None:
    damaged = {name: tensor.clone() for name, tensor in original.state.items()}
    damaged["model.layers.1.mlp.up_proj.weight"].view(-1)[5] = value
    save_file(damaged, folder / "model.safetensors")
    loaded = load_folder("small", folder)
    with pytest.raises(UserError, match=r"1 of 8192 values of the weights' model.layers.1.mlp.up_proj.weight are not"):
        loaded.state["model.layers.1.mlp.up_proj.weight"]


def test_a_rotary_base_that_is_not_a_number_is_refused(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    rewrite(folder / "config.json", rope_theta=float("inf"))
    assert (folder / "config.json").read_text() != text
    with pytest.raises(UserError, match="rope_theta is inf, but it must be a number above 0"):
        load_folder("small", folder)


def test_json_that_is_not_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer file"):
        load_folder("small", folder)


def test_tensor_of_an_unsupported_feature_is_refused(folder: Path, original: ModelWeights) -> None:
    surplus = dict(original.state) | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}
    save_file(surplus, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"the first is model.layers.0.self_attn.q_proj.bias"):
        load_folder("small", folder)


def test_integer_weights_are_refused(folder: Path, original: ModelWeights) -> None:
    integers = dict(original.state) | {"model.norm.weight": torch.ones(64, dtype=torch.int8)}
    save_file(integers, folder / "model.safetensors")
    with pytest.raises(UserError, match="type I8, only F32, F16, BF16"):
        load_folder("small", folder)


def test_pickled_weights_are_not_read(folder: Path, original: ModelWeights) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(dict(original.state), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="convert the weights to safetensors"):
        load_folder("small", folder)


def test_tokenizer_of_a_larger_model_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["vocab"]["unheard of"] = 5000
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="the tokenizer gives ids up to 5000, but the model has only 512 tokens"):
        load_folder("small", folder)


def test_truncation_and_padding_of_the_tokenizer_file_do_not_apply(folder: Path, original: ModelWeights) -> None:
    text = "four bytes and more"
    expected = original.tokenizer.encode(text)
    backend = byte_level_tokenizer().backend
    backend.enable_truncation(3)
    backend.enable_padding(length=50)
    backend.save(str(folder / "tokenizer.json"))
    assert load_folder("small", folder).tokenizer.encode(text) == expected
