"""GGUF files: tensors, rotary order, configuration, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch

from foundation.errors import UserError
from workloads.models.gguf import load_gguf, read_gguf_config, rotary_halves
from workloads.models.weights import ModelWeights, file_sha256
from workloads.tasks.task import built_in_task

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

WriteGguf = Callable[..., Path]


def test_round_trip_gives_the_same_model(write_gguf: WriteGguf, original: ModelWeights) -> None:
    path = write_gguf()
    loaded = load_gguf("small", path)
    assert loaded.config == original.config
    assert list(loaded.state) == list(original.config.tensor_shapes())
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in original.state.items())
    assert loaded.sha256 == file_sha256(path)


def test_transformers_reads_the_same_tensors_from_the_file(write_gguf: WriteGguf, reference: LlamaForCausalLM) -> None:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = write_gguf(quantized=gguf.GGMLQuantizationType.Q8_0)
    theirs = load_gguf_checkpoint(path, return_tensors=True, model_to_load=reference)["tensors"]
    ours = load_gguf("small", path).state
    assert set(theirs) == set(ours)
    assert all(torch.equal(torch.as_tensor(theirs[name]), ours[name]) for name in ours)


def test_rotary_rows_go_from_neighbours_to_halves_within_each_head() -> None:
    rows = torch.arange(12.0)[:, None]
    assert rotary_halves(rows, heads=2)[:, 0].tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_quantized_tensors_come_back_as_float32_close_to_the_original(
    write_gguf: WriteGguf, original: ModelWeights
) -> None:
    loaded = load_gguf("small", write_gguf(quantized=gguf.GGMLQuantizationType.Q8_0))
    name = "model.layers.0.self_attn.k_proj.weight"
    assert loaded.state[name].dtype == torch.float32
    assert (loaded.state[name] - original.state[name]).abs().max() < original.state[name].abs().max() / 127


def test_tokenizer_is_read_from_the_file(write_gguf: WriteGguf, original: ModelWeights) -> None:
    tokenizer = load_gguf("small", write_gguf()).tokenizer
    text = "A <eos> story, 1984! é"
    assert tokenizer.encode(text) == original.tokenizer.encode(text)
    assert tokenizer.prefix == [1]
    assert (tokenizer.eos_id, tokenizer.pad_id) == (2, 0)


def test_missing_output_head_means_a_tied_one(write_gguf: WriteGguf) -> None:
    loaded = load_gguf("small", write_gguf(without=("lm_head.weight",)))
    assert loaded.config.tie_embeddings
    assert "lm_head.weight" not in loaded.state


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.1, 0.5, 0.999])
def test_truncated_file_is_refused_in_one_sentence(
    write_gguf: WriteGguf, cut: Callable[[Path, float], None], share: float
) -> None:
    path = write_gguf()
    cut(path, share)
    with pytest.raises(UserError, match=r"ends early at \d+ bytes"):
        load_gguf("small", path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\3\4 something else")
    with pytest.raises(UserError, match="is not a GGUF file"):
        load_gguf("small", path)


def test_missing_tensor_is_named(write_gguf: WriteGguf) -> None:
    path = write_gguf(without=("model.layers.1.mlp.up_proj.weight",))
    with pytest.raises(UserError, match=r"lacks 1 of 30 tensors, the first is model.layers.1.mlp.up_proj.weight"):
        load_gguf("small", path)


def test_a_tensor_of_a_type_without_a_dequantizer_is_named_with_it(
    write_gguf: WriteGguf, original: ModelWeights
) -> None:
    """One sentence with the file, the tensor and its type, from the header alone: before anything is exported."""
    name = "model.norm.weight"
    whole = original.state[name].numpy().astype(np.int8)
    path = write_gguf(lambda writer: writer.add_tensor("output_norm.weight", whole), without=(name,))
    for read in (read_gguf_config, lambda path: load_gguf("small", path)):
        with pytest.raises(
            UserError, match=r"output_norm.weight is stored as I8, which can't be dequantized here: use a file"
        ):
            read(path)


def test_other_architecture_is_refused(write_gguf: WriteGguf) -> None:
    with pytest.raises(
        UserError, match="'gemma2' model: only llama, qwen2, qwen3, smollm3, gemma3 are supported in GGUF"
    ):
        load_gguf("small", write_gguf(architecture="gemma2"))


def scale_linearly(writer: gguf.GGUFWriter, factor: float) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(factor)


def wide_heads(writer: gguf.GGUFWriter) -> None:
    scale_linearly(writer, 2.0)
    for add in (writer.add_key_length, writer.add_value_length):
        add(2**32 - 2)


REFUSED: dict[str, tuple[Callable[[gguf.GGUFWriter], None], str]] = {
    "experts": (lambda writer: writer.add_expert_count(8), "expert_count is '8'"),
    "rope scaling": (
        lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN),
        r"asks for 'yarn' rotary scaling, which is not supported: use a model with one of default, linear",
    ),
    "a factor of no scaling": (
        lambda writer: writer.add_rope_scaling_factor(4.0),
        "has a rotary factor of an unknown type",
    ),
    "a factor of nothing": (
        lambda writer: scale_linearly(writer, 0.0),
        "factor is 0.0, but it must be a number above 0",
    ),
    "a factor without end": (lambda writer: scale_linearly(writer, math.inf), "factor is inf, but it must be a number"),
    "stretched positions of too wide heads": (wide_heads, "heads of 4294967294 values, more than 16384"),
    "capped logits": (
        lambda writer: writer.add_final_logit_softcapping(30.0),
        "llama.final_logit_softcapping is '30.0'",
    ),
    "part of a rotary": (lambda writer: writer.add_rope_dimension_count(8), "dimension_count is 8"),
    "a scale of the logits": (lambda writer: writer.add_logit_scale(0.5), "llama.logit_scale is '0.5'"),
    "a key of the future": (
        lambda writer: writer.add_float32("llama.attention.twist", 1.0),
        "llama.attention.twist is '1.0', which is not supported",
    ),
    "a space before the text": (
        lambda writer: writer.add_add_space_prefix(True),
        "tokenizer.ggml.add_space_prefix is 'True'",
    ),
    "an unknown step of the tokenizer": (
        lambda writer: writer.add_string("tokenizer.ggml.lowercase", "all"),
        "tokenizer.ggml.lowercase is 'all'",
    ),
    "one of several files": (lambda writer: writer.add_uint16("split.count", 3), "split.count is '3'"),
    "bias": (
        lambda writer: writer.add_tensor("blk.0.attn_q.bias", torch.ones(64).numpy()),
        r"1 tensors that are not supported for its architecture, the first is model.layers.0.self_attn.q_proj.bias",
    ),
    "scaled frequencies": (
        lambda writer: writer.add_tensor("rope_freqs.weight", torch.ones(9).numpy()),
        r"rope_freqs.weight has the shape \(9,\) and the type F32, but heads of 16 need 8",
    ),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_unsupported_features_are_refused_not_ignored(write_gguf: WriteGguf, feature: str) -> None:
    change, message = REFUSED[feature]
    path = write_gguf(change)
    with pytest.raises(UserError, match=message):
        load_gguf("small", path)


def test_keys_that_change_nothing_are_accepted(write_gguf: WriteGguf, original: ModelWeights) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_expert_count(0)
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_add_space_prefix(False)
        writer.add_eot_token_id(2)
        writer.add_chat_template("{{ messages }}")
        writer.add_author("somebody")

    assert load_gguf("small", write_gguf(add)).config == original.config


def test_a_file_that_leaves_out_how_text_is_cut_is_refused_by_the_name_of_the_key(write_gguf: WriteGguf) -> None:
    path = write_gguf(without=("pre",))
    with pytest.raises(UserError, match=r"has no tokenizer\.ggml\.pre, .* convert the model again"):
        load_gguf("small", path)


def test_unknown_pre_tokenizer_is_refused(write_gguf: WriteGguf) -> None:
    path = write_gguf(lambda writer: writer.add_tokenizer_pre("tekken"), without=("pre",))
    with pytest.raises(UserError, match="cuts text as 'tekken'"):
        load_gguf("small", path)


@pytest.mark.full
def test_real_model_equals_what_transformers_reads_from_the_file(
    smollm2: ModelWeights, smollm2_path: Path, in_transformers: Callable[[ModelWeights], LlamaForCausalLM]
) -> None:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = in_transformers(smollm2)
    theirs = load_gguf_checkpoint(smollm2_path, return_tensors=True, model_to_load=model)["tensors"]
    assert set(theirs) == set(smollm2.state)
    assert all(torch.equal(torch.as_tensor(theirs[name]), tensor) for name, tensor in smollm2.state.items())


@pytest.mark.full
def test_real_tokenizer_equals_the_one_transformers_reads_from_the_file(
    smollm2: ModelWeights, smollm2_path: Path
) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(smollm2_path.parent, gguf_file=smollm2_path.name)
    for example in built_in_task().examples:
        text = f"{example.text} It was"
        assert smollm2.tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False)


@pytest.mark.full
def test_real_tokenizer_cuts_digits_and_keeps_bytes(smollm2: ModelWeights) -> None:
    tokenizer = smollm2.tokenizer
    assert tokenizer.encode(" great") == [1109]
    assert len(tokenizer.encode("1984")) == 4
    for text in ("naïve café, 日本 🎬", "  two  spaces\n", "<|im_end|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not set(tokenizer.encode("<|im_end|>")) & {0, 1, 2}


def test_metadata_of_another_type_is_refused(write_gguf: WriteGguf) -> None:
    path = write_gguf(lambda writer: writer.add_array("llama.vocab_size", json.loads("[512, 512]")))
    with pytest.raises(UserError, match="vocab_size should be one whole number"):
        load_gguf("small", path)
