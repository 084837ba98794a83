"""Measures the cost of a large lab's reports: `python -m benchmarks.site [--nights N] [--devices N]`.

Uses two synthetic stores, the second a night longer than the first (by default 365 nights of 35 devices with 8
workloads each, 102,200 measurements). Builds the whole site of the first; then, for the newest night, its page
alone, all pages that it changes, and the same again when nothing has changed. Processor time shows what pages cost even
on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from reports.site.build import build, build_night
from suite.report_data.source import StoreSource
from suite.store.store import Store
from tests.support.reports.synthetic_store import Shape, fill

T = TypeVar("T")


def measure(folder: Path, shape: Shape) -> None:
    """Prints the time and the number of pages of each part."""
    site, before, after = folder / "site", folder / "before.sqlite", folder / "after.sqlite"
    fill(before, dataclasses.replace(shape, nights=shape.nights - 1))
    with _read(before) as source:
        _report_cost("all pages but the newest night's", site, lambda: build(source, site))
    before.unlink()
    newest = fill(after, shape)[-1]
    print(f"{'':34} {shape.measurements} measurements now, {after.stat().st_size / 1e6:.0f} MB")
    with _read(after) as source:
        _report_cost("page of the newest night alone", site, lambda: build_night(source, site, newest))
        _report_cost("all that the night changes", site, lambda: build(source, site, [newest]))
        _report_cost("the same, nothing changed", site, lambda: build(source, site, [newest]))
        _report_cost("the whole site, nothing changed", site, lambda: build(source, site))


@contextlib.contextmanager
def _read(path: Path) -> Iterator[StoreSource]:
    with contextlib.closing(Store.open(path, read_only=True)) as store:
        yield StoreSource(store)


def _report_cost(name: str, site: Path, action: Callable[[], T]) -> T:
    before = _pages(site)
    began_s, used_s = time.perf_counter(), time.process_time()
    result = action()
    took_s, used_s = time.perf_counter() - began_s, time.process_time() - used_s
    written = sum(before.get(page) != changed for page, changed in _pages(site).items())
    print(f"{name:34} {took_s:7.2f} s, {used_s:7.2f} s of processor time, {written} pages written", flush=True)
    return result


def _pages(site: Path) -> dict[Path, int]:
    return {page: page.stat().st_mtime_ns for page in site.rglob("*.html")}


def main() -> None:
    """Reads the options and measures in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.site", description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--devices", type=int, default=35)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), Shape(nights=options.nights, devices=options.devices))


if __name__ == "__main__":
    main()
