"""Compares the peaks that the runner measures on this machine with what torch reaches in the same minute.

python -m benchmarks.peaks --threads 2 --rounds 5

The two take turns, and the best of all rounds counts. torch's matrix products should come close to the peak without
exceeding it. With one thread they are timed by processor time, like the runner's, so that other processes don't count;
with more threads by the clock, as copies always are. For float32 a convolution counts where it is faster: MKL, which
computes torch's float32 products, doesn't use the widest instructions of every processor; oneDNN does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from devices.runner_builds.build import build_runner
from suite.home import Home

_SIZE = 2048
_REPEATS = 8
_COPIED_VALUES = 32 << 20
_NARROW = ("float32", "bfloat16", "float16")


def main() -> None:
    """Prints a line for each peak: the runner's, and beside it torch's, in GFLOP/s or GB/s."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    runner = build_runner(Home.locate().runner).folder / "runner"
    own: dict[str, float] = {}
    other: dict[str, float] = {}
    for _ in range(given.rounds):
        for into, found in ((own, runner_peaks(runner, given.threads)), (other, library_peaks(own))):
            for name, value in found.items():
                into[name] = max(into.get(name, 0.0), value)
    for name, value in own.items():
        beside = other.get(name)
        words = "" if beside is None else f", beside {beside:8.1f} ({beside / value:.0%})"
        print(f"{name:18} runner {value:8.1f}{words}")


def runner_peaks(runner: Path, threads: int) -> dict[str, float]:
    """Returns the peaks of one call of the runner, in GFLOP/s or GB/s."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"schema": 1, "session": "peaks", "threads": threads}))
        done = subprocess.run([runner, "--peaks", job], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    peaks = [line for line in lines if line["event"] == "peak"]
    return {f"{one['of']} {one['by']}": one["count"] / min(one["ns"]) for one in peaks}


def library_peaks(known: dict[str, float]) -> dict[str, float]:
    """Returns what products and copies reach, by the names of `known`."""
    clock = time.thread_time_ns if torch.get_num_threads() == 1 else time.monotonic_ns
    found: dict[str, float] = {}
    for name in known:
        of, by = name.split()
        if of in _NARROW:
            a = torch.ones(_SIZE, _SIZE, dtype=getattr(torch, of))
            found[name] = 2 * _SIZE**3 / _best_ns(partial(torch.mm, a, a), clock)
            if of == "float32":
                found[name] = max(found[name], _convolution(clock))
        elif by == "memory" and of != "read":
            found[name] = _moved(of)
    return found


def _convolution(clock: Callable[[], int]) -> float:
    x, weight = torch.ones(4, 256, 32, 32), torch.ones(256, 256, 3, 3)
    operations = 2 * 9 * 256 * 256 * 4 * 30 * 30
    return operations / _best_ns(partial(torch.nn.functional.conv2d, x, weight), clock)


def _moved(of: str) -> float:
    a, b = torch.ones(_COPIED_VALUES), torch.zeros(_COPIED_VALUES)
    if of == "copy":
        return 2 * 4 * _COPIED_VALUES / _best_ns(lambda: b.copy_(a))
    c = torch.ones(_COPIED_VALUES)
    return 3 * 4 * _COPIED_VALUES / _best_ns(lambda: torch.add(a, c, alpha=0.5, out=b))


def _best_ns(work: Callable[[], object], clock: Callable[[], int] = time.monotonic_ns) -> int:
    found = []
    for _ in range(_REPEATS):
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


if __name__ == "__main__":
    main()
