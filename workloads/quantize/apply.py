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
from workloads.quantize import int4_groups, int8, nf4, nf4_double
from workloads.quantize.frozen import FrozenEmbedding, FrozenLinear
from workloads.quantize.int4_groups import GroupedInt4Linear
from workloads.quantize.int8_dynamic import DynamicInt8Linear
from workloads.quantize.settings import SETTINGS, QuantizationSetting


def product_dtype(setting: QuantizationSetting) -> torch.dtype:
    """Returns the type of products' operands."""
    dtype: torch.dtype = getattr(torch, setting.products)
    return dtype


def quantize_model(model: Llama, setting: str) -> nn.Module:
    """Replaces the frozen linears, head and embedding of `model` in place -> its embedding.

    The norms stay as they are. With a tied head, embedding and head hold the same tensors.
    """
    for layer in model.layers:
        quantize_layer(layer, setting)
    return quantize_ends(model, setting)


def quantize_layer(layer: DecoderLayer, setting: str) -> None:
    """Replaces the frozen linears of a decoder layer in place."""
    products = product_dtype(SETTINGS[setting])
    layer.self_attn.products = layer.mlp.products = products
    for owner in (layer.self_attn, layer.mlp):
        for name in (name for name in PROJECTIONS if hasattr(owner, name)):
            if setting not in _PACK:
                owner.get_submodule(name).to(products)
                continue
            stored = _PACK[setting](owner.get_submodule(name).get_parameter("weight"))
            setattr(owner, name, _LINEAR.get(setting, FrozenLinear)(*stored))


def quantize_ends(model: Llama, setting: str) -> nn.Module:
    """Replaces head and embedding of `model` in place -> its embedding; the layers are not touched."""
    if setting not in _PACK:
        for module in (model.model.embed_tokens, model.lm_head):
            module.to(product_dtype(SETTINGS[setting]))
        return model.model.embed_tokens
    head = table = _PACK[setting](model.lm_head.get_parameter("weight"))
    own = SETTINGS[setting].embedding
    if own is not None or not model.config.tie_embeddings:
        table = _PACK[own or setting](model.model.embed_tokens.get_parameter("weight"))
    model.lm_head = _LINEAR.get(setting, FrozenLinear)(*head)
    model.model.embed_tokens = embedding = FrozenEmbedding(*table)
    return embedding


ROWS_AT_A_TIME = 1024
"""Whole blocks of every block size, so that memory beside the weights is bounded."""

Stored = tuple[Tensor, ...]
"""A frozen matrix and its scales."""


def _by_rows(quantize: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Returns the same quantization to codes and scales for weight [out, in], a part of the rows at a time."""

    def of_parts(weight: Tensor) -> tuple[Tensor, Tensor]:
        starts = range(0, weight.shape[0], ROWS_AT_A_TIME)
        codes, scales = zip(*(quantize(weight[start : start + ROWS_AT_A_TIME]) for start in starts), strict=True)
        return torch.cat(codes), torch.cat(scales)

    return of_parts


_to_int8, _to_nf4 = _by_rows(int8.quantize), _by_rows(nf4.quantize)


def _to_doubly_quantized(weight: Tensor) -> Stored:
    packed, absmax = _to_nf4(weight)
    return (packed, *nf4_double.compress(absmax))


_PACK: dict[str, Callable[[Tensor], Stored]] = {
    "bf16": lambda weight: (weight.to(torch.bfloat16),),
    "int8": _to_int8,
    "int8-dynamic": _to_int8,
    "8da4w": _by_rows(int4_groups.quantize),
    "nf4": _to_nf4,
    "nf4-double": _to_doubly_quantized,
}
"""How weights become codes. In the other settings torch's own linears stay, in the type of products."""

_LINEAR: dict[str, Callable[..., nn.Module]] = {"int8-dynamic": DynamicInt8Linear, "8da4w": GroupedInt4Linear}
"""The linear of a setting that delegates compute."""

T = TypeVar("T")


class LayeredModel:
    """A quantized model: embedding, last norm and head in memory; a decoder layer is read and quantized on request."""

    def __init__(self, config: LlamaConfig, state: Mapping[str, Tensor], setting: str) -> None:
        SETTINGS[setting].require_rows(config)
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
