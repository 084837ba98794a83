"""Constants in data files beside the program, mapped into memory as tensors.

The program refers to them by key and contains none of their bytes; lowering it needs their digests and a few of their
values, but neither the model nor a quantizer.
"""

from __future__ import annotations

import copy
import math
import mmap
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads.lowering.flat_tensor import StoredConstant, constant_sha256, dtype_name


class StoredConstants:
    """The constants of data files by name. Its tensors are identified by their address in memory."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[mmap.mmap, StoredConstant]] = {}
        self._tensors: dict[str, Tensor] = {}
        self._held: set[str] = set()
        self._digests: dict[tuple[int, int], str] = {}
        self._keys: dict[tuple[int, str, tuple[int, ...]], str] = {}

    def add_file(self, path: Path, constants: Mapping[str, StoredConstant]) -> None:
        """Maps a data file; writes to its tensors stay in this process."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._places |= {name: (mapped, constant) for name, constant in constants.items()}
        self._held |= {constant.sha256 for constant in constants.values()}

    def constant(self, name: str) -> StoredConstant | None:
        """Returns the place of a constant, None if no file has it."""
        return self._places[name][1] if name in self._places else None

    def tensor(self, name: str) -> Tensor:
        """Returns a constant; constants with the same key are the same tensor, as in a tied model."""
        mapped, constant = self._places[name]
        if constant.key not in self._tensors:
            count = math.prod(constant.shape)
            flat = torch.frombuffer(mapped, dtype=getattr(torch, constant.dtype), count=count, offset=constant.offset)
            value = flat.reshape(constant.shape)
            self._tensors[constant.key] = value
            self._digests[value.data_ptr(), value.nbytes] = constant.sha256
            self._keys[value.data_ptr(), constant.dtype, constant.shape] = constant.key
        return self._tensors[constant.key]

    def sha256_of(self, value: Tensor) -> str:
        """Returns the digest of a tensor's values, without reading them if a data file has them."""
        return self._digests.get((value.data_ptr(), value.nbytes)) or constant_sha256(value)

    def hold(self, sha256: str) -> bool:
        """Returns whether a data file has a constant of this digest."""
        return sha256 in self._held

    def key_of(self, value: Tensor) -> str | None:
        """Returns the key under which a data file has a tensor of this type and shape, None if none has it."""
        return self._keys.get((value.data_ptr(), dtype_name(value), tuple(value.shape)))


def with_tensors(module: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Returns a copy of `module` in which the named tensors are replaced; the others are shared."""
    replaced: dict[int, object] = {}
    for name, old in (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)):
        new = values.get(name)
        if new is None:
            replaced[id(old)] = old
        else:
            replaced[id(old)] = nn.Parameter(new, requires_grad=False) if isinstance(old, nn.Parameter) else new
    copied: nn.Module = copy.deepcopy(module, replaced)
    return copied
