"""Names of models, and weights given for them."""

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from foundation.errors import UserError
from workloads.models.config import LlamaConfig
from workloads.models.named import ZOO, model_config, split_model
from workloads.models.zoo import load_model, load_weights, random_weights


@pytest.mark.parametrize("name", ["smolm2-135m", "SmolLM2-135M"])
def test_unknown_model_offers_the_nearest_name(name: str) -> None:
    with pytest.raises(UserError, match=r"Unknown model .*: did you mean smollm2-135m"):
        load_model(name)


def test_model_without_a_near_name_lists_all() -> None:
    with pytest.raises(UserError, match=r"choose one of llama-2-7b, smollm2-135m, smollm2-360m, tiny, tinyllama-1.1b"):
        model_config("qqqq")


def test_large_random_model_costs_nothing_until_a_tensor_is_read() -> None:
    weights = load_model("llama-2-7b")
    assert tuple(weights.state["model.layers.31.input_layernorm.weight"].shape) == (4096,)
    assert weights.source == "random, seed 0"


def test_weights_of_another_shape_are_refused_with_the_differences(folder: Path) -> None:
    with pytest.raises(UserError, match="is not a tiny: it has layers 3 instead of 2;"):
        load_model("tiny", folder)


def test_given_weights_of_the_right_shape_replace_the_random_ones(folder: Path, config: LlamaConfig) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(settings))
    other = random_weights("other", dataclasses.replace(config, layers=2), seed=9)
    save_file(dict(other.state), folder / "model.safetensors")
    loaded = load_model("tiny", folder)
    assert loaded.name == "tiny"
    assert loaded.source == str(folder)
    assert loaded.sha256 != load_model("tiny").sha256


def test_files_of_a_model_that_is_not_built_in_go_by_any_name(folder: Path, config: LlamaConfig) -> None:
    loaded = load_model("My-Model", folder)
    assert (loaded.name, loaded.config) == ("My-Model", config)


@pytest.mark.parametrize("text", ["a" * 300, "a" * 300 + ".gguf", "b/" + "a" * 300, "b/\0", "nowhere.gguf"])
def test_words_that_no_path_can_be_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(
        UserError, match=r"(does not exist|can't be looked up \(.+\)): give a Hugging Face folder"
    ) as caught:
        split_model(text)
    assert len(str(caught.value)) < 400


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_model("tiny", tmp_path / "nowhere")


def test_pickle_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="may be a pickle"):
        load_weights("x", path)


@pytest.mark.full
def test_real_model_has_the_shape_of_the_zoo_and_the_pinned_hash() -> None:
    weights = load_model("smollm2-135m")
    packaged = ZOO["smollm2-135m"].packaged
    assert packaged is not None
    assert weights.config == ZOO["smollm2-135m"].config
    assert weights.sha256 == packaged.sha256
