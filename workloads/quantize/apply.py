"""Bring a model's frozen weights into a quantization setting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from workloads.models.config import PROJECTIONS
from workloads.models.llama import Llama
from workloads.quantize import int8, nf4

COMPUTE_DTYPE = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float32, "nf4": torch.float32}
"""What activations are held in, by setting. Adapter, noise and losses are float32 everywhere."""


def quantize_model(model: Llama, setting: str) -> nn.Module:
    """Replace the frozen linears, head and embedding of `model` in place -> its embedding.

    The norms stay as they are. With a tied head, embedding and head hold the same tensors.
    """
    if setting in ("fp32", "fp16"):
        model.to(COMPUTE_DTYPE[setting])
        return model.model.embed_tokens
    for layer in model.layers:
        for owner in (layer.self_attn, layer.mlp):
            for name in (name for name in PROJECTIONS if hasattr(owner, name)):
                setattr(owner, name, _LINEAR[setting](owner.get_submodule(name).get_parameter("weight")))
    head = _LINEAR[setting](model.lm_head.get_parameter("weight"))
    tied = model.config.tie_embeddings
    table = head if tied else _LINEAR[setting](model.model.embed_tokens.get_parameter("weight"))
    model.lm_head = head
    embedding = _EMBEDDING[setting](table)
    model.model.embed_tokens = embedding
    return embedding


_LINEAR: dict[str, Callable[[torch.Tensor], nn.Module]] = {
    "int8": lambda weight: int8.Int8Linear(*int8.quantize(weight)),
    "nf4": lambda weight: nf4.Nf4Linear(*nf4.quantize(weight)),
}
_EMBEDDING: dict[str, Callable[[nn.Module], nn.Module]] = {
    "int8": lambda head: int8.Int8Embedding(head.get_buffer("weight"), head.get_buffer("scale")),
    "nf4": lambda head: nf4.Nf4Embedding(head.get_buffer("packed"), head.get_buffer("absmax")),
}
