"""How a device sums products of float16 (workloads.arithmetic_probe), modelled on the host."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from foundation.errors import UserError
from workloads.arithmetic_probe import Accumulation

_SOURCE = Path(__file__).with_name("half_products.cpp")
_COMPILERS = ("c++", "g++", "clang++")
_COLUMNS = 16
_ROWS_AT_A_TIME = 64


class HalfProducts(TorchFunctionMode):
    """Within it, `linear` and `bmm` of float16 tensors sum as `accumulation` says, and round to float16 at the end.

    Raises UserError when it is entered for fp16 sums and this host has no C++ compiler.
    """

    def __init__(self, accumulation: Accumulation) -> None:
        super().__init__()
        self._multiply = _exact_sums if accumulation is Accumulation.FP32 else functools.partial(_half_sums, _library())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        name = getattr(func, "__name__", "")
        if name in ("linear", "bmm") and args[0].dtype == torch.float16:
            x, matrix = args[0], args[1]
            if name == "bmm":
                return self._multiply(x, matrix)
            rows = x.reshape(1, -1, x.shape[-1])
            return self._multiply(rows, matrix.t()[None]).reshape(*x.shape[:-1], matrix.shape[0])
        return func(*args, **(kwargs or {}))


def _exact_sums(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.bmm(x.float(), matrix.float()).half()


def _half_sums(library: ctypes.CDLL, x: Tensor, matrix: Tensor) -> Tensor:
    """x float16 [n, rows, depth] times matrix [n, depth, columns], summed in float16 one depth after the other."""
    count, rows, depth = x.shape
    columns = matrix.shape[2]
    filled = functional.pad(matrix.float(), (0, -columns % _COLUMNS))
    panels = filled.reshape(count, depth, -1, _COLUMNS).transpose(1, 2).contiguous()
    x, y = x.float().contiguous(), torch.empty(count, rows, filled.shape[2])

    def part(place: tuple[int, int]) -> None:
        index, row = place
        library.half_product(
            ctypes.c_void_p(x[index, row].data_ptr()),
            ctypes.c_void_p(panels[index].data_ptr()),
            ctypes.c_void_p(y[index, row].data_ptr()),
            *(ctypes.c_int64(size) for size in (min(_ROWS_AT_A_TIME, rows - row), filled.shape[2], depth)),
        )

    places = [(index, row) for index in range(count) for row in range(0, rows, _ROWS_AT_A_TIME)]
    list(_threads().map(part, places))  # the library works outside of Python's lock
    return y[..., :columns].half()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads())


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled products; kept for this source, compiler and processor."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        raise UserError(
            f"Sums in float16 can't be modelled without a C++ compiler (looked for {', '.join(names)}): "
            "install one with `sudo apt install g++`, or set CXX to yours."
        )
    digest = hashlib.sha256(_SOURCE.read_bytes() + f"{compiler} {_processor()}".encode()).hexdigest()[:16]
    place = user_cache_path("edge-training-suite") / "half-products" / f"{digest}.so"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _compile(compiler, place)
    return ctypes.CDLL(str(place))


def _compile(compiler: str, place: Path) -> None:
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    with TemporaryDirectory(dir=place.parent) as folder:
        made = Path(folder) / place.name
        ended = subprocess.run(
            [compiler, *flags, str(_SOURCE), "-o", str(made)], capture_output=True, text=True, timeout=300, check=False
        )
        if ended.returncode:
            first = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[0]
            raise UserError(f"{compiler} can't build {_SOURCE.name} ({first}): set CXX to another compiler.")
        made.replace(place)


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
