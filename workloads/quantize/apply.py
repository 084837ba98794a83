"""Converts a model's frozen weights to a quantization setting.

This is done layer by layer, so that a model of 7 billion values is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.llama import DecoderLayer, Llama, decoder_layer
from workloads.quantize import int8, nf4

PRODUCT_DTYPE = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float32, "nf4": torch.float32}
"""Type of products by setting. Hidden states, norms, softmax, adapter, noise and losses are float32."""


def quantize_model(model: Llama, setting: str) -> nn.Module:
    """Replaces the frozen linears, head and embedding of `model` in place -> its embedding.

    The norms stay as they are. With a tied head, embedding and head hold the same tensors.
    """
    for layer in model.layers:
        quantize_layer(layer, setting)
    return quantize_ends(model, setting)


def quantize_layer(layer: DecoderLayer, setting: str) -> None:
    """Replaces the frozen linears of a decoder layer in place."""
    layer.self_attn.products = layer.mlp.products = PRODUCT_DTYPE[setting]
    if setting in ("fp32", "fp16"):
        for linear in (module for module in layer.modules() if isinstance(module, nn.Linear)):
            linear.to(PRODUCT_DTYPE[setting])
        return
    for owner in (layer.self_attn, layer.mlp):
        for name in (name for name in PROJECTIONS if hasattr(owner, name)):
            setattr(owner, name, _LINEAR[setting](owner.get_submodule(name).get_parameter("weight")))


def quantize_ends(model: Llama, setting: str) -> nn.Module:
    """Replaces head and embedding of `model` in place -> its embedding; the layers are not touched."""
    if setting in ("fp32", "fp16"):
        for module in (model.model.embed_tokens, model.lm_head):
            module.to(PRODUCT_DTYPE[setting])
        return model.model.embed_tokens
    head = _LINEAR[setting](model.lm_head.get_parameter("weight"))
    tied = model.config.tie_embeddings
    table = head if tied else _LINEAR[setting](model.model.embed_tokens.get_parameter("weight"))
    model.lm_head = head
    embedding = _EMBEDDING[setting](table)
    model.model.embed_tokens = embedding
    return embedding


ROWS_AT_A_TIME = 1024
"""Whole blocks of every block size, so that memory beside the weights is bounded."""


def _by_rows(
    quantize: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantizes weight [out, in], a part of the rows at a time, to codes and scales."""
    starts = range(0, weight.shape[0], ROWS_AT_A_TIME)
    codes, scales = zip(*(quantize(weight[start : start + ROWS_AT_A_TIME]) for start in starts), strict=True)
    return torch.cat(codes), torch.cat(scales)


_LINEAR: dict[str, Callable[[torch.Tensor], nn.Module]] = {
    "int8": lambda weight: int8.Int8Linear(*_by_rows(int8.quantize, weight)),
    "nf4": lambda weight: nf4.Nf4Linear(*_by_rows(nf4.quantize, weight)),
}
_EMBEDDING: dict[str, Callable[[nn.Module], nn.Module]] = {
    "int8": lambda head: int8.Int8Embedding(head.get_buffer("weight"), head.get_buffer("scale")),
    "nf4": lambda head: nf4.Nf4Embedding(head.get_buffer("packed"), head.get_buffer("absmax")),
}

T = TypeVar("T")


class LayeredModel:
    """A quantized model: embedding, last norm and head in memory; a decoder layer is read and quantized on request."""

    def __init__(self, config: LlamaConfig, state: Mapping[str, Tensor], setting: str) -> None:
        self.config, self.setting, self._state = config, setting, state
        self.ends = Llama.without_layers(config, state)
        self.embedding: nn.Module = quantize_ends(self.ends, setting)

    def layer(self, index: int) -> DecoderLayer:
        """Returns decoder layer `index` of the quantized model; the caller decides how long it lives."""
        layer = decoder_layer(self.config, self._state, index)
        quantize_layer(layer, self.setting)
        return layer


class MadeOnDemand(Sequence[T], Generic[T]):
    """A sequence whose entries are made on access; only the last one is kept."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length, self._make = length, make
        self._last: tuple[int, T] | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self._length))]
        position = range(self._length)[index]
        if self._last is None or self._last[0] != position:
            self._last = None  # freed before its successor is made
            self._last = (position, self._make(position))
        return self._last[1]
