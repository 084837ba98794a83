"""Converts a model's frozen weights to a quantization setting.

This is done layer by layer, so that a model of 7 billion values is never completely in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from foundation.errors import UserError
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.llama import DecoderLayer, Llama, decoder_layer
from workloads.models.weights import all_finite
from workloads.quantize import int4_groups, int8, nf4
from workloads.quantize.frozen import FrozenEmbedding, FrozenLinear, largest_magnitudes
from workloads.quantize.int4_groups import GroupedInt4Linear
from workloads.quantize.int8 import DynamicInt8Linear
from workloads.quantize.settings import SETTINGS, QuantizationSetting


def product_dtype(setting: QuantizationSetting) -> torch.dtype:
    """Returns the type of products' operands."""
    dtype: torch.dtype = getattr(torch, setting.products)
    return dtype


def quantize_model(model: Llama, setting: str) -> nn.Module:
    """Replaces the frozen linears, head and embedding of `model` in place -> its embedding.

    The norms are unchanged. With a tied head, embedding and head have the same tensors.
    """
    for index, layer in enumerate(model.layers):
        quantize_layer(layer, setting, index)
    return quantize_ends(model, setting)


def quantize_layer(layer: DecoderLayer, setting: str, index: int) -> None:
    """Replaces the frozen linears of decoder layer `index` in place. Raises UserError for weights that are too large
    for the setting."""
    products = product_dtype(SETTINGS[setting])
    layer.self_attn.products = layer.mlp.products = products
    for part, owner in layer.named_children():
        for name in (name for name in PROJECTIONS if hasattr(owner, name)):
            where, module = f"model.layers.{index}.{part}.{name}.weight", owner.get_submodule(name)
            if setting not in _PACK:
                _convert(module, setting, where)
                continue
            stored = _packed(module.get_parameter("weight"), setting, setting, where)
            setattr(owner, name, _LINEAR.get(setting, FrozenLinear)(*stored))


def quantize_ends(model: Llama, setting: str) -> nn.Module:
    """Replaces head and embedding of `model` in place -> its embedding; the layers are not touched.

    Raises UserError for weights that are too large for the setting.
    """
    tied, of_table = model.config.tie_embeddings, "model.embed_tokens.weight"
    of_head = of_table if tied else "lm_head.weight"
    if setting not in _PACK:
        _convert(model.model.embed_tokens, setting, of_table)
        _convert(model.lm_head, setting, of_head)
        return model.model.embed_tokens
    head = table = _packed(model.lm_head.get_parameter("weight"), setting, setting, of_head)
    own = SETTINGS[setting].embedding
    if own is not None or not tied:
        table = _packed(model.model.embed_tokens.get_parameter("weight"), own or setting, setting, of_table)
    model.lm_head = _LINEAR.get(setting, FrozenLinear)(*head)
    model.model.embed_tokens = embedding = FrozenEmbedding(*table)
    return embedding


ROWS_AT_A_TIME = 1024
"""Values converted at a time: whole blocks of every block size, so that memory besides the weights is bounded."""

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
    return (packed, *nf4.compress_absmax(absmax))


_PACK: dict[str, Callable[[Tensor], Stored]] = {
    "bf16": lambda weight: (weight.to(torch.bfloat16),),
    "int8": _to_int8,
    "int8-dynamic": _to_int8,
    "8da4w": _by_rows(int4_groups.quantize),
    "nf4": _to_nf4,
    "nf4-double": _to_doubly_quantized,
}
"""How weights become codes. In the other settings torch's own linears are kept, in the type of products."""

_LINEAR: dict[str, Callable[..., nn.Module]] = {"int8-dynamic": DynamicInt8Linear, "8da4w": GroupedInt4Linear}
"""The linear layer of a setting that is computed by delegates."""


def _packed(weight: Tensor, form: str, setting: str, where: str) -> Stored:
    stored = _PACK[form](weight)
    _require_finite(largest_magnitudes(*stored), weight, setting, where)
    return stored


def _convert(module: nn.Module, setting: str, where: str) -> None:
    """Converts a linear or an embedding to the type of products, in place."""
    before = module.get_parameter("weight").detach()
    module.to(product_dtype(SETTINGS[setting]))
    _require_finite(module.get_parameter("weight"), before, setting, where)


def _require_finite(stored: Tensor, weight: Tensor, setting: str, where: str) -> None:
    if not all_finite(stored):
        raise UserError(
            f"The weights' {where} has a value of magnitude {float(weight.abs().max()):.3g}, which is too large for "
            f"{setting}: leave this setting out, or use other weights."
        )


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
        quantize_layer(layer, self.setting, index)
        return layer


class MadeOnDemand(Sequence[T], Generic[T]):
    """A sequence whose entries are created on access; only the last one is kept."""

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
            self._last = None  # freed before its successor is created
            self._last = (position, self._make(position))
        return self._last[1]
