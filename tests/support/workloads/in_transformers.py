"""A model of ours in transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.models.weights import ModelWeights

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def transformers_model(weights: ModelWeights) -> LlamaForCausalLM:
    """Returns the same model in transformers, built from the same state dict."""
    from transformers import LlamaConfig as LlamaConfigOfTransformers  # takes a second
    from transformers import LlamaForCausalLM

    config = weights.config
    made: Any = LlamaConfigOfTransformers  # its type hints know only some of its arguments
    model: Any = LlamaForCausalLM(
        made(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=config.tie_embeddings,
            max_position_embeddings=config.max_positions,
            attn_implementation="eager",
        )
    )
    missing, unexpected = model.load_state_dict(dict(weights.state), strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"] if config.tie_embeddings else [])
    evaluated: LlamaForCausalLM = model.eval()
    return evaluated
