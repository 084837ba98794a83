"""A model on disk as a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from workloads.models.tokenizer import byte_level_tokenizer
from workloads.models.weights import ModelWeights


def write_folder(path: Path, weights: ModelWeights) -> None:
    """Writes config.json, model.safetensors and tokenizer.json."""
    config = weights.config
    settings = {
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": weights.tokenizer.bos_id,
        "eos_token_id": weights.tokenizer.eos_id,
        "pad_token_id": weights.tokenizer.pad_id,
    }
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(settings))
    byte_level_tokenizer().backend.save(str(path / "tokenizer.json"))
    save_file(dict(weights.state), path / "model.safetensors")
