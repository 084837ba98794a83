"""A model family: Llama's layers, whose files name the norm before the MLP otherwise."""

from workloads.models.families import Family

FAMILY = Family(names={"post_attention_layernorm.weight": "norm_before_mlp.weight"})
