"""Measures what reading results as data frames costs: `python -m benchmarks.results [--nights N] [--devices N]`.

Uses a synthetic store of 365 nights of 35 devices with 8 workloads each (102,200 measurements), or any `--store FILE`.
Each read runs in its own process. Memory is that process's peak, beside what it held before it read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from suite import results
from tests.support.reports.synthetic_store import Shape, fill


def main() -> None:
    """Reads the options and measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--devices", type=int, default=35)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "store.sqlite"
        if options.store is None:
            fill(store, Shape(nights=options.nights, devices=options.devices))
        print(f"{store.stat().st_size / 1e6:.0f} MB")
        with results.open(store) as lab:
            runs = lab.measurements(devices="board-00").run_id
        one: dict[str, Any] = {"devices": "board-00"}
        for name, filters in (
            *(("measurements", one), ("measurements", {**one, "settings": "int8"}), ("measurements", {})),
            *(("sessions", one), ("sessions", {}), ("verdicts", one), ("verdicts", {})),
            *(("steps", one), ("steps", {"runs": runs.iloc[-1]}), ("samples", {"runs": runs.iloc[-1]})),
        ):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(report_cost, (store, name, filters))


def report_cost(store: Path, name: str, filters: dict[str, Any]) -> None:
    """Prints time, rows and memory of one read."""
    with results.open(store) as lab:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_s, used_s = time.perf_counter(), time.process_time()
        frame = getattr(lab, name)(**filters)
        took_s, used_s = time.perf_counter() - began_s, time.process_time() - used_s
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    asked = ", ".join(f"{key}={value}" for key, value in filters.items())
    size = frame.memory_usage(deep=True).sum() / 1e6
    print(
        f"{f'{name}({asked})':52} {len(frame):8} rows, frame of {size:5.0f} MB, {took_s:6.2f} s, {used_s:6.2f} s of "
        f"processor time, at most {held / 1024:5.0f} MiB more",
        flush=True,
    )


if __name__ == "__main__":
    main()
