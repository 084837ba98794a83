"""Random weights: reproducible, and a Llama in transformers' eyes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch

from workloads.models.config import LlamaConfig
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model, random_weights

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def test_tiny_is_the_same_on_every_machine() -> None:
    weights = load_model("tiny")
    digest = hashlib.sha256()
    for name, tensor in weights.state.items():
        digest.update(name.encode() + tensor.numpy().astype("<f4").tobytes())
    assert digest.hexdigest() == "17e20b36e8631ea12fb737b32a42f2efe8f213d29a8148b838cae96ebf5c6bf2"
    assert weights.sha256 == "dea898eebc372d7ec53b771e5347ca0a9a844b1295f11197988503f9bdadc0a9"


def test_same_seed_same_weights_and_other_seed_other_weights(config: LlamaConfig) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    one, same, other = (random_weights("x", config, seed) for seed in (1, 1, 2))
    assert torch.equal(one.state[name], same.state[name])
    assert not torch.equal(one.state[name], other.state[name])
    assert one.sha256 == same.sha256 != other.sha256


def test_tensors_of_one_shape_differ(original: ModelWeights) -> None:
    first, second = (original.state[f"model.layers.{layer}.mlp.up_proj.weight"] for layer in (0, 1))
    assert not torch.equal(first, second)


def test_matrices_keep_the_size_of_activations(original: ModelWeights) -> None:
    down = original.state["model.layers.0.mlp.down_proj.weight"]
    assert down.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert torch.equal(original.state["model.norm.weight"], torch.ones(64))


def test_testing_whether_a_tensor_exists_does_not_make_it(original: ModelWeights) -> None:
    assert "model.norm.weight" in original.state
    assert "model.norm.bias" not in original.state
    assert len(original.state) == len(original.config.tensor_shapes())


def test_transformers_takes_names_and_shapes(original: ModelWeights, reference: LlamaForCausalLM) -> None:
    theirs = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert theirs == original.config.tensor_shapes()
