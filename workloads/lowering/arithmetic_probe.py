"""Finds the type in which a device sums float16 products, with a probe program: a sum of 4096 ones.

Processors with fp16 arithmetic (ARMv8.2 fp16, AVX512-FP16) keep the running sum in float16; on others XNNPACK sums in
float32 and rounds once. A float16 sum of ones stays at 2048, where the next number is 2050; a float32 sum reaches 4096.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

PROBE = "arithmetic.pte"
"""The probe's name beside a program that needs it."""

INPUT_SHAPE = (8, 4096)
"""float32 ones, with enough rows for the kernels that training uses."""

_COLUMNS = 32
_STAGNATED = 2048.0


class Accumulation(StrEnum):
    """The type in which products of float16 are summed."""

    FP16 = "fp16 accumulate"
    FP32 = "fp32 accumulate"


def accumulation_of(sums: Sequence[float]) -> Accumulation | None:
    """Interprets the probe's results; None if they match neither type."""
    if len(sums) != INPUT_SHAPE[0] * _COLUMNS:
        return None
    known = {_STAGNATED: Accumulation.FP16, float(INPUT_SHAPE[1]): Accumulation.FP32}
    return known.get(sums[0]) if len(set(sums)) == 1 else None


def export_probe(path: Path) -> None:
    """Writes the program: float32 INPUT_SHAPE -> float32 [8, 32], each a sum of products of float16."""
    import torch  # takes seconds, like executorch, and readers of the answer need neither
    from executorch.exir import EdgeCompileConfig, to_edge

    from workloads.lowering.delegation import delegate
    from workloads.lowering.quick_tracing import quick_tracing
    from workloads.models.conversion import to_half, to_single

    class Sums(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ones = torch.ones(_COLUMNS, INPUT_SHAPE[1], dtype=torch.float16)
            self.weight = torch.nn.Parameter(ones, requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return to_single(torch.nn.functional.linear(to_half(x), self.weight))

    x = torch.ones(INPUT_SHAPE)
    with quick_tracing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (part,) = delegate([Sums()], (x,))
        program = to_edge(
            torch.export.export(part, (x,), strict=False), compile_config=EdgeCompileConfig(_check_ir_validity=False)
        )
        path.write_bytes(program.to_executorch().buffer)
