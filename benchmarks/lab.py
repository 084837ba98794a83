"""Makes a lab with planted causes and its reports: `python -m benchmarks.lab FOLDER [--nights N]`.

Twenty boards over N nights, judged by the suite's own rules (tests/support/suite/planted_lab.py). FOLDER becomes a
suite home: `SUITE_HOME=FOLDER suite findings` lists what was found, FOLDER/reports has the pages. Prints how long each
part took, what the last night found, and how large the pages are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from reports.files import night_place
from reports.site.build import build
from suite.report_data.source import StoreSource
from tests.support.suite.planted_lab import Plan, make_lab


def main() -> None:
    """Reads the options, makes the lab and builds the pages of its last night."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=60)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    began_s = time.process_time()
    lab = make_lab(options.folder / "store.sqlite", Plan(options.nights, 10, with_sessions=True))
    print(f"{options.nights} nights made and judged in {time.process_time() - began_s:.1f} s of processor time")
    for one in lab.last:
        print(f"{one.id}  {one.category}, {one.life}: {one.headline}")
    began_s, site = time.process_time(), options.folder / "reports"
    build(StoreSource(lab.store), site, [lab.run_ids[-1]])
    print(f"pages of the last night in {time.process_time() - began_s:.1f} s of processor time")
    for place in (night_place(lab.run_ids[-1]), "index.html"):
        print(f"{place}: {(site / place).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
