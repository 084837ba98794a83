"""Takes and prints times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

REPEATS_OF_A_COPY = 3


def latency(name: str, action: Callable[[], Any], times: int) -> None:
    """Prints median and minimum of the action's time."""
    taken_ms = []
    for _ in range(times):
        begin_s = time.perf_counter()
        action()
        taken_ms.append((time.perf_counter() - begin_s) * 1e3)
    print(f"{name:34} median {statistics.median(taken_ms):7.1f} ms, min {min(taken_ms):7.1f} ms ({times} times)")


def throughput(name: str, size_mb: float, copy: Callable[[], Any], undo: Callable[[], Any]) -> None:
    """Prints the rates of a copy that `undo` resets."""
    rates = []
    for _ in range(REPEATS_OF_A_COPY):
        begin_s = time.perf_counter()
        copy()
        rates.append(size_mb / (time.perf_counter() - begin_s))
        undo()
    print(f"{name:34} {' '.join(f'{rate:.0f}' for rate in rates)} MB/s ({size_mb:.0f} MB)")
