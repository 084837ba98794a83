"""Writes constants into one file in ExecuTorch's FlatTensor format (.ptd), one tensor at a time.

ExecuTorch's own serializer needs all tensors in memory. A constant's key is the sha256 of its bytes, which is also the
name that XNNPACK's delegates request; equal bytes are stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from executorch.exir._serialize._program import _insert_flatbuffer_header
from executorch.exir.tensor_layout import TensorLayout
from executorch.extension.flat_tensor.serialize import serialize
from executorch.extension.flat_tensor.serialize.flat_tensor_schema import DataSegment, FlatTensor, NamedData
from torch import Tensor

_ALIGNMENT = 128
"""Alignment of each constant in the file: whole cache lines, as kernels require."""

_HEADER_BYTES = 4096
_BYTES_PER_ENTRY = 384
"""The most bytes for a constant's place, key and layout. The list of constants precedes their bytes, but its size is
only known after them.
"""


@dataclass(frozen=True)
class StoredConstant:
    """A constant in a data file: `offset` in bytes from the file's start, `dtype` as torch names it."""

    key: str
    sha256: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StoredConstant:
        """Reads one from the JSON form of `asdict`."""
        return cls(**{**document, "shape": tuple(document["shape"])})


def constant_bytes(value: Tensor) -> memoryview:
    """Returns the values of a tensor in order, as stored in the file."""
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def constant_sha256(value: Tensor) -> str:
    """Returns the sha256 of a tensor's values, in hexadecimal."""
    return hashlib.sha256(constant_bytes(value)).hexdigest()


def dtype_name(value: Tensor) -> str:
    """Returns a tensor's type by torch's name: `float32`, `int8`."""
    return str(value.dtype).removeprefix("torch.")


class FlatTensorWriter:
    """A file that is valid once the block ends without an exception; `most` limits the number of constants."""

    def __init__(self, path: Path, most: int) -> None:
        self._base = _aligned(_HEADER_BYTES + most * _BYTES_PER_ENTRY)
        self._path = path
        self._segments: dict[str, int] = {}
        self._places: list[Any] = []
        self._names: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._file: BinaryIO = self._path.open("wb")
        self._end = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._write_list()

    def add(self, value: Tensor) -> StoredConstant:
        """Appends a constant, unless its bytes are in the file already."""
        data, digest = constant_bytes(value), constant_sha256(value)
        if digest not in self._segments:
            self._segments[digest] = len(self._places)
            place = _aligned(self._end)
            self._file.seek(self._base + place)
            self._file.write(data)
            self._end = place + len(data)
            self._places.append(DataSegment(offset=place, size=len(data)))
        segment = self._segments[digest]
        layout = TensorLayout.from_tensor(value.detach().contiguous())
        key = digest
        if key in self._names and self._names[key].tensor_layout != layout:  # the same bytes in another shape
            key = f"{digest}.{dtype_name(value)}.{'x'.join(map(str, value.shape))}"
        self._names.setdefault(key, NamedData(key=key, segment_index=segment, tensor_layout=layout))
        offset = self._base + self._places[segment].offset
        return StoredConstant(key, digest, dtype_name(value), tuple(value.shape), offset)

    def _write_list(self) -> None:
        listing = FlatTensor(
            version=serialize._FLAT_TENSOR_VERSION, segments=self._places, named_data=list(self._names.values())
        )
        flatbuffer = bytes(serialize._serialize_to_flatbuffer(listing))
        header_bytes = serialize.aligned_size(serialize.FlatTensorHeader.EXPECTED_LENGTH, 16)
        header = serialize.FlatTensorHeader(header_bytes, len(flatbuffer), self._base, self._end).to_bytes()
        listed = _insert_flatbuffer_header(
            flatbuffer_data=flatbuffer,
            magic_regex=r"FT[0-9a-zA-Z][0-9a-zA-Z]",
            header_data=serialize.pad_to(header, header_bytes),
        )
        if len(listed) > self._base:
            raise ValueError(f"the list of {len(self._names)} constants has {len(listed)} of {self._base} bytes")
        self._file.seek(0)
        self._file.write(listed)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
