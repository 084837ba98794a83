"""Calling the kernels through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """The address of the values, as an argument."""
    return array.ctypes.data_as(ctypes.c_void_p)


def variants(kernels: ctypes.CDLL) -> Iterator[int]:
    """The instruction sets that this machine can run, by index, widest first."""
    index = 0
    while kernels.prge_variant_name(ctypes.c_uint64(index)) is not None:
        yield index
        index += 1
