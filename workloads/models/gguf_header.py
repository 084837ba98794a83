"""The header of a GGUF file: its keys, and the places of its tensors. No count is trusted before checking the file's
size.

The gguf package's own reader creates numpy objects for each element that a list claims to have: a file of 100 bytes
keeps it busy forever, and a common vocabulary for many seconds. Layout:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
import numpy.typing as npt

from foundation.foreign_files import open_regular

MOST_HEADER_BYTES = 64 << 20
MOST_KEYS = 10_000
MOST_TENSORS = 20_000
MOST_ELEMENTS = 2_000_000
"""The limit for all lists together: Gemma 3's tokens, scores and types, the largest common ones, are 0.8 million."""

_VERSIONS = (2, 3)
_BOOL, _STRING, _LIST = 7, 8, 9
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}
_SIZES = {kind: struct.calcsize(f"<{form}") for kind, form in _FORMS.items()} | {_STRING: 8}
_LEAST_KEY, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8
_MOST_DIMENSIONS = 4
#: Types that numpy has as well; values of all others are blocks of bytes.
_PLAIN = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}

T = TypeVar("T")


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor of this shape (outermost dimension first) starts in its file, and how it is stored."""

    path: Path
    name: str
    shape: tuple[int, ...]
    type: gguf.GGMLQuantizationType
    offset: int
    size_bytes: int

    def read(self) -> npt.NDArray[Any]:
        """Returns the stored values, or blocks of bytes as `gguf.dequantize` takes them, mapped and read-only.

        Raises OSError and ValueError if the file is no longer complete.
        """
        plain = _PLAIN.get(self.type.name)
        data = np.memmap(self.path, np.uint8, "r", self.offset, self.size_bytes)
        if plain is not None:
            return data.view(plain).reshape(self.shape)
        blocks: npt.NDArray[Any] = data.reshape(gguf.quants.quant_shape_to_byte_shape(self.shape, self.type))
        return blocks


@dataclass(frozen=True)
class GgufHeader:
    """The values of all keys, and the tensors in the order of the file."""

    values: Mapping[str, Any]
    tensors: tuple[TensorPlace, ...]


def read_header(path: Path) -> GgufHeader:
    """Reads the header.

    Raises ValueError, whose message is the reason, if it claims more than the file has, or more than any model has;
    `UserError` for anything but a regular file, and OSError for one that can't be opened.
    """
    with (
        open_regular(path, what="a GGUF file") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return _Reader(path, content).read()


class _Reader:
    """Walks the header once."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._size = len(content)
        self._place = 4
        self._elements = 0

    def read(self) -> GgufHeader:
        version = self._number("I")
        if version not in _VERSIONS:
            order = " or is stored big-endian" if version & 0xFFFF == 0 else ""
            raise ValueError(f"it has version {version}{order}, only {_VERSIONS} are read")
        tensors, keys = self._number("Q"), self._number("Q")
        self._require(tensors, MOST_TENSORS, _LEAST_TENSOR, "tensors")
        self._require(keys, MOST_KEYS, _LEAST_KEY, "keys")
        values = self._named(keys, lambda: self._value(self._number("I")), "key")
        entries = self._named(tensors, self._entry, "tensor")
        alignment = values.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {str(alignment)[:40]}, which is not a power of two")
        begin = -(-self._place // alignment) * alignment
        return GgufHeader(values, tuple(self._tensor(name, begin, *entry) for name, entry in entries.items()))

    def _named(self, count: int, read: Callable[[], T], what: str) -> dict[str, T]:
        found: dict[str, T] = {}
        for _ in range(count):
            name = self._string()
            if name in found:
                raise ValueError(f"the {what} {name[:80]!r} is there twice")
            found[name] = read()
        return found

    def _entry(self) -> tuple[tuple[int, ...], int, int]:
        """Returns shape, type and offset of a tensor."""
        dimensions = self._number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions, more than {_MOST_DIMENSIONS}")
        shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
        return shape, self._number("I"), self._number("Q")

    def _tensor(self, name: str, begin: int, shape: tuple[int, ...], kind: int, offset: int) -> TensorPlace:
        stored = gguf.GGMLQuantizationType(kind)
        block, block_bytes = gguf.GGML_QUANT_SIZES[stored]
        size = math.prod(shape) // block * block_bytes
        missing = begin + offset + size - self._size
        if missing > 0:
            raise ValueError(f"its tensor {name[:80]} extends {missing} bytes beyond the end")
        if shape and shape[-1] % block:
            raise ValueError(f"the rows of its tensor {name[:80]} are not whole blocks of {stored.name}")
        return TensorPlace(self._path, name, shape, stored, begin + offset, size)

    def _value(self, kind: int) -> Any:
        if kind == _LIST:
            return self._list()
        if kind == _STRING:
            return self._string()
        return self._number(self._form(kind))

    def _list(self) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if kind == _LIST:
            raise ValueError("it has lists within lists")
        if kind != _STRING:
            form = self._form(kind)
        self._require(count, MOST_ELEMENTS - self._elements, _SIZES[kind], "elements of lists")
        self._elements += count
        if kind == _STRING:
            return [self._string() for _ in range(count)]
        begin = self._place
        self._skip(count * _SIZES[kind])
        return list(struct.unpack_from(f"<{count}{form}", self._content, begin))

    def _string(self) -> str:
        length = self._number("Q")
        begin = self._place
        self._skip(length)
        return self._content[begin : self._place].decode()

    def _form(self, kind: int) -> str:
        if kind not in _FORMS:
            raise ValueError(f"a value has the unknown type {kind}")
        return _FORMS[kind]

    def _number(self, form: str) -> Any:
        begin = self._place
        self._skip(struct.calcsize(f"<{form}"))
        return struct.unpack_from(f"<{form}", self._content, begin)[0]

    def _require(self, count: int, most: int, least_bytes: int, what: str) -> None:
        left = self._size - self._place
        if count * least_bytes > left:
            raise ValueError(f"it claims {count} {what}, but only {left} bytes are left")
        if count > most:
            raise ValueError(f"it claims {count} {what}, but the limit is {most} more")

    def _skip(self, count: int) -> None:
        self._place += count
        if self._place > self._size:
            raise ValueError(f"its header ends early, {self._place - self._size} bytes are missing")
        if self._place > MOST_HEADER_BYTES:
            raise ValueError(f"its header exceeds {MOST_HEADER_BYTES} bytes")
