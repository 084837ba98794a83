"""A model family: Llama's layers, whose files have another name for the norm before the MLP."""

from workloads.models.families import Family

FAMILY = Family(names={"post_attention_layernorm.weight": "norm_before_mlp.weight"})
