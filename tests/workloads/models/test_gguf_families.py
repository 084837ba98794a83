"""GGUF files of Llama's relatives: tensors, rotary positions and tokenizers as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers

from foundation.errors import UserError
from tests.support.workloads.family_models import family_model, save_family
from tests.support.workloads.gguf_files import add_shape, add_tokenizer, finish, gguf_name, permuted
from workloads.models.config import Rope, llama3_divisors
from workloads.models.gguf import load_gguf
from workloads.models.gguf_header import read_header
from workloads.models.gguf_metadata import Metadata, read_tokenizer
from workloads.models.huggingface import load_folder
from workloads.models.llama import Llama
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.models.weights import ModelWeights

GEMMA: dict[str, Any] = {
    "num_hidden_layers": 6,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    "query_pre_attn_scalar": 32,
}
LINEAR = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 20_000.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
}


def as_stored(name: str, tensor: torch.Tensor, model: ModelWeights, architecture: str) -> torch.Tensor:
    """Rows of Llama and SmolLM3 are permuted there, and Gemma's embedding is as it was before its factor."""
    if architecture in ("llama", "smollm3"):
        return permuted(name, tensor, model.config)
    factor = model.config.hidden_size**0.5 if architecture == "gemma3" else 1.0
    if name == "model.norm.weight" and model.config.tie_embeddings:
        return tensor * factor
    return tensor / factor if name == "model.embed_tokens.weight" else tensor


def write(
    path: Path,
    model: ModelWeights,
    architecture: str,
    divisors: tuple[float, ...] = (),
    add: Callable[[gguf.GGUFWriter], None] = lambda _: None,
) -> Path:
    """Writes a model that was read from a folder."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    add_shape(writer, config)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    add_tokenizer(writer)
    for name, tensor in model.state.items():
        writer.add_tensor(gguf_name(name), as_stored(name, tensor, model, architecture).float().numpy())
    add(writer)
    if divisors:
        writer.add_tensor("rope_freqs.weight", torch.tensor(divisors).numpy())
    finish(writer)
    return path


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("llama3", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("smollm3", "smollm3")],
)
def test_logits_equal_those_of_transformers(name: str, architecture: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"no_rope_layers": [1, 1, 1, 0]} if name == "smollm3" else {}
    model = family_model(name, **changes)
    of_folder = load_folder("some", save_family(model, tmp_path / "model"))
    rope = of_folder.config.rope(0)
    assert rope is not None
    loaded = load_gguf("some", write(tmp_path / "model.gguf", of_folder, architecture, rope.divisors))
    assert_logits_of(model, loaded)


def assert_logits_of(model: Any, loaded: ModelWeights) -> None:
    tokens = torch.randint(3, 500, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = Llama.load(loaded.config, loaded.state)(tokens, torch.zeros(2, dtype=torch.int64))
        theirs = model(input_ids=tokens).logits
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-4


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled positions"])
def test_gemma_has_the_logits_of_transformers(tied: bool, scaled: bool, tmp_path: Path) -> None:
    """Six layers, the last of full attention; larger ones of its models scale positions there."""
    model = family_model(
        "gemma3_text", **GEMMA, tie_word_embeddings=tied, **({"rope_parameters": LINEAR} if scaled else {})
    )
    of_folder = load_folder("some", save_family(model, tmp_path / "model"))

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_sliding_window(128)
        if scaled:
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(8.0)
            writer.add_float32("gemma3.rope.freq_base_swa", 20_000.0)

    loaded = load_gguf("some", write(tmp_path / "model.gguf", of_folder, "gemma3", add=add))
    assert loaded.config == of_folder.config
    assert_logits_of(model, loaded)


@pytest.mark.slow
def test_a_gemma_of_62_layers_scales_its_queries_by_the_width(tmp_path: Path) -> None:
    """Its file does not say so: llama.cpp knows the model by its layers, and so does what is read here."""
    model = family_model("gemma3_text", num_hidden_layers=62, layer_types=None, query_pre_attn_scalar=16)
    of_folder = load_folder("some", save_family(model, tmp_path / "model"))
    loaded = load_gguf(
        "some", write(tmp_path / "model.gguf", of_folder, "gemma3", add=lambda writer: writer.add_sliding_window(128))
    )
    assert loaded.config.form.query_scale == of_folder.config.form.query_scale == 0.25


def test_linear_scaling_stretches_all_positions_of_a_llama(tmp_path: Path) -> None:
    model = family_model("linear")
    of_folder = load_folder("some", save_family(model, tmp_path / "model"))

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    assert_logits_of(model, load_gguf("some", write(tmp_path / "model.gguf", of_folder, "llama", add=add)))


def test_divisors_of_the_file_are_those_of_llama_3(tmp_path: Path) -> None:
    plain = load_folder("some", save_family(family_model("llama"), tmp_path / "model"))
    divisors = llama3_divisors(10_000.0, 8, 8.0, 1.0, 4.0, 64.0)
    config = load_gguf("some", write(tmp_path / "model.gguf", plain, "llama", divisors)).config
    found = config.rope(0)
    assert isinstance(found, Rope)
    assert found.divisors == pytest.approx(divisors, rel=1e-6)


def test_a_family_without_its_vectors_is_refused(tmp_path: Path) -> None:
    plain = load_folder("some", save_family(family_model("llama"), tmp_path / "model"))
    with pytest.raises(UserError, match=r"lacks 12 of \d+ tensors, the first is model.layers.0.self_attn.q_proj.bias"):
        load_gguf("some", write(tmp_path / "model.gguf", plain, "qwen2"))


PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Of the tokenizer.json of Llama 3 and of Qwen 2."""


@pytest.mark.parametrize(("cut", "begins"), [("llama-bpe", [1]), ("qwen2", [])])
def test_text_is_cut_as_the_models_own_tokenizers_cut_it(cut: str, begins: list[int], tmp_path: Path) -> None:
    path = tmp_path / "tokens.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    add_tokenizer(writer, cut)
    finish(writer)
    ours = read_tokenizer(Metadata(read_header(path), path))
    assert ours.prefix == begins
    document = json.loads(byte_level_tokenizer().backend.to_str())
    merges = [tuple(pair) for pair in document["model"]["merges"]]
    theirs = tokenizers.Tokenizer(models.BPE(vocab=document["model"]["vocab"], merges=merges))
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PATTERNS[cut]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for text in ("It was great, wasn't it? 1984 + 12345\n\n  THE'LL end\u00e9 ", "bad(the)story  with\ttabs"):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert ours.backend.pre_tokenizer is not None
    pieces = [piece for piece, _ in ours.backend.pre_tokenizer.pre_tokenize_str("12345")]
    assert pieces == (["123", "45"] if cut == "llama-bpe" else list("12345"))
