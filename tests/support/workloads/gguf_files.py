"""What a GGUF file holds: its metadata, its vocabulary, and tensors by their names and in their order there."""

from __future__ import annotations

import json

import gguf
import torch

from workloads.models.config import LlamaConfig
from workloads.models.tokenizer import byte_level_tokenizer

_TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "self_attn.result_norm": "post_attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.result_norm": "post_ffw_norm",
}


def gguf_name(name: str) -> str:
    """Returns the name in a GGUF file of a tensor of `LlamaConfig.tensor_shapes`."""
    stem, _, kind = name.rpartition(".")
    if stem in _TOP_NAMES:
        return f"{_TOP_NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part]}.{kind}"


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Permutes rows to GGUF's order: within a head, rows of the first and the second half alternate."""
    head_dim = rows.shape[0] // heads
    order = []
    for head in range(heads):
        for pair in range(head_dim // 2):
            order += [head * head_dim + pair, head * head_dim + head_dim // 2 + pair]
    return rows[order]


def permuted(name: str, tensor: torch.Tensor, config: LlamaConfig) -> torch.Tensor:
    """Returns a tensor as files of Llama have it: the rows of queries and keys interleaved."""
    heads = {"q_proj": config.heads, "k_proj": config.kv_heads}.get(name.split(".")[-2])
    return tensor if heads is None else interleaved(tensor, heads)


def add_shape(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    """Adds a model's sizes and constants. The width of a head is left out, as it often is: it follows from them."""
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_context_length(config.max_positions)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)


def add_tokenizer(writer: gguf.GGUFWriter, cut: str | None = "gpt-2") -> None:
    """Adds the built-in byte-level tokenizer. `cut`: the name of its rule for splitting text; None leaves it out."""
    backend = byte_level_tokenizer().backend
    tokens = [backend.id_to_token(index) or "" for index in range(backend.get_vocab_size())]
    writer.add_tokenizer_model("gpt2")
    if cut is not None:
        writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]])
    writer.add_bos_token_id(1)


def finish(writer: gguf.GGUFWriter) -> None:
    """Writes the file with all that was added."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
