"""The reference's products: float32 by oneDNN, float16 with sums as on the device
(workloads.lowering.arithmetic_probe).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
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

from foundation.causes import cause_line
from foundation.errors import UserError
from foundation.host_tools import find_compiler
from workloads.lowering.arithmetic_probe import Accumulation

_SOURCE = Path(__file__).with_name("half_products.cpp")
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_COLUMNS = 16
_ROWS_AT_A_TIME = 64
_MOST_PREPARED = 14  # the weights of a decoder layer, with the A of each


def float32_product(x: Tensor, weight: Tensor) -> Tensor:
    """Multiplies x [..., in] by weight [out, in], with oneDNN if no gradient is needed.

    By default torch uses MKL, which is half as fast on AMD processors: 103 against 229 GFLOP/s on one EPYC core.
    """
    if torch.is_grad_enabled() or not _HAS_ONEDNN:
        return functional.linear(x, weight)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return product


class HalfProducts(TorchFunctionMode):
    """A mode in which `linear` and `bmm` of float16 tensors sum in the type of `accumulation`, and round to float16 at
    the end.

    Raises UserError for fp16 sums if this host has no C++ compiler.
    """

    def __init__(self, accumulation: Accumulation) -> None:
        super().__init__()
        half = accumulation is Accumulation.FP16
        self._library = _library() if half else None
        self._prepared: dict[int, tuple[Tensor, Tensor]] = {}  # by id; with the matrix, so that the id stays valid

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        name = getattr(func, "__name__", "")
        if name not in ("linear", "bmm") or args[0].dtype != torch.float16:
            return func(*args, **(kwargs or {}))
        if name == "bmm":
            return self._bmm(*args)
        return self._linear(*args)

    def _linear(self, x: Tensor, weight: Tensor, bias: None = None) -> Tensor:
        """Multiplies x float16 [..., in] by weight [out, in]; a weight is prepared once for successive passes."""
        assert bias is None  # noqa: S101 - our models have none
        found = self._prepared.get(id(weight))
        if found is None:
            if len(self._prepared) >= _MOST_PREPARED:
                self._prepared.clear()
            wide = weight.float()
            found = weight, wide if self._library is None else _panels(wide.t()[None])
            self._prepared[id(weight)] = found
        if self._library is None:
            return float32_product(x.float(), found[1]).half()
        rows = x.reshape(1, -1, x.shape[-1])
        return _half_sums(self._library, rows, found[1], weight.shape[0]).reshape(*x.shape[:-1], weight.shape[0])

    def _bmm(self, x: Tensor, matrix: Tensor) -> Tensor:
        if self._library is None:
            return torch.bmm(x.float(), matrix.float()).half()
        return _half_sums(self._library, x, _panels(matrix.float()), matrix.shape[2])


def _panels(matrix: Tensor) -> Tensor:
    """float32 [n, depth, columns] -> [n, columns / 16, depth, 16], padded with zeros."""
    count, depth, _ = matrix.shape
    filled = functional.pad(matrix, (0, -matrix.shape[2] % _COLUMNS))
    return filled.reshape(count, depth, -1, _COLUMNS).transpose(1, 2).contiguous()


def _half_sums(library: ctypes.CDLL, x: Tensor, panels: Tensor, columns: int) -> Tensor:
    """Multiplies x float16 [n, rows, depth] by a matrix [n, depth, columns], adding one depth after the other in
    float16.
    """
    count, rows, depth = x.shape
    filled = panels.shape[1] * _COLUMNS
    x, y = x.float().contiguous(), torch.empty(count, rows, filled)

    def part(place: tuple[int, int]) -> None:
        index, row = place
        library.half_product(
            ctypes.c_void_p(x[index, row].data_ptr()),
            ctypes.c_void_p(panels[index].data_ptr()),
            ctypes.c_void_p(y[index, row].data_ptr()),
            *(ctypes.c_int64(size) for size in (min(_ROWS_AT_A_TIME, rows - row), filled, depth)),
        )

    places = [(index, row) for index in range(count) for row in range(0, rows, _ROWS_AT_A_TIME)]
    list(_threads().map(part, places))  # the library releases Python's lock
    return y[..., :columns].half()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads())


@functools.cache
def _library() -> ctypes.CDLL:
    """Returns the compiled library, cached for this source, compiler and processor."""
    compiler = find_compiler("to model sums in float16")
    digest = hashlib.sha256(_SOURCE.read_bytes() + f"{compiler} {_processor()}".encode()).hexdigest()[:16]
    place = user_cache_path("edge-training-suite") / "half-products" / f"{digest}.so"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _compile(compiler, place)
    return ctypes.CDLL(str(place))


def _compile(compiler: Path, place: Path) -> None:
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    with TemporaryDirectory(dir=place.parent) as folder:
        library = Path(folder) / place.name
        command = [str(compiler), *flags, str(_SOURCE), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            words = cause_line(done.stderr, limit=300).removeprefix(": ") or f"exit code {done.returncode}"
            raise UserError(f"{compiler} can't build {_SOURCE.name} ({words}): set CXX to another compiler.")
        library.replace(place)


def _processor() -> str:
    """Returns what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
