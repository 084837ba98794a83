"""Our models in transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.peers.torch_work import transformers_config
from workloads.models.weights import ModelWeights

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def transformers_model(weights: ModelWeights) -> LlamaForCausalLM:
    """Returns the same model in transformers, built from the same state dict."""
    from transformers import LlamaForCausalLM  # takes a second

    config = weights.config
    model: Any = LlamaForCausalLM(transformers_config(config, attn_implementation="eager"))
    missing, unexpected = model.load_state_dict(dict(weights.state), strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"] if config.tie_embeddings else [])
    evaluated: LlamaForCausalLM = model.eval()
    return evaluated
