"""A model in a quantization setting, layer by layer: one of 7 billion values never lies in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, overload

from torch import Tensor, nn

from workloads.models.config import LlamaConfig
from workloads.models.llama import DecoderLayer, Llama, decoder_layer
from workloads.quantize.apply import quantize_ends, quantize_layer

T = TypeVar("T")


class LayeredModel:
    """Embedding, last norm and head in memory; a decoder layer is read and quantized whenever it is asked for."""

    def __init__(self, config: LlamaConfig, state: Mapping[str, Tensor], setting: str) -> None:
        self.config, self.setting, self._state = config, setting, state
        self.ends = Llama.without_layers(config, state)
        self.embedding: nn.Module = quantize_ends(self.ends, setting)

    def layer(self, index: int) -> DecoderLayer:
        """Decoder layer `index` of the quantized model; the caller decides how long it lives."""
        layer = decoder_layer(self.config, self._state, index)
        quantize_layer(layer, self.setting)
        return layer


class MadeOnDemand(Sequence[T], Generic[T]):
    """A sequence whose entries are made at each access; the one made last is remembered until the next."""

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
            self._last = None  # it makes room before its successor is made
            self._last = (position, self._make(position))
        return self._last[1]
