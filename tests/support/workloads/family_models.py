"""Small random models of each family, made and saved by transformers as users have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from workloads.models.tokenizer import byte_level_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
"""With so few original positions that there are frequencies in all three ranges."""

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama3": {"model_type": "llama", "rope_scaling": LLAMA3, "rope_theta": 500_000.0, "tie_word_embeddings": True},
    "linear": {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "mistral": {"sliding_window": 256, "head_dim": 32},
    "qwen2": {"tie_word_embeddings": True, "rope_theta": 1_000_000.0},
    "qwen3": {"head_dim": 32, "rope_theta": 1_000_000.0},
    "smollm3": {"no_rope_layers": [1, 0, 1, 0], "rope_theta": 2_000_000.0, "tie_word_embeddings": True},
    "gemma3_text": {
        "head_dim": 32,
        "query_pre_attn_scalar": 48,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    },
}
"""What each family's configuration has besides the sizes, by a name that is its `model_type` if none is given."""


def family_model(name: str, **changes: Any) -> Any:
    """Returns the model of a family with random weights: norms, biases and all else far from what they start as."""
    import transformers  # takes a second

    settings = {"model_type": name, **SIZES, **FAMILIES[name], **changes}
    kind = settings.pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **settings)
    model: Any = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(5)
    around = 0.0 if kind.startswith("gemma") else 1.0
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.3 * noise + (around if parameter_name.endswith("norm.weight") else 0.0))
    model.tie_weights()
    return model.eval()


def save_family(model: Any, folder: Path) -> Path:
    """Writes a model's folder: config.json, safetensors and tokenizer.json."""
    model.save_pretrained(folder)
    byte_level_tokenizer().backend.save(str(folder / "tokenizer.json"))
    return folder
