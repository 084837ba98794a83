"""Measures the cost of a sweep over shapes: bytes and seconds of each program, and of the data files that all share.

python -m benchmarks.shapes --model smollm2-135m --quant fp32 1,1,32 4,4,64
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from workloads.export.artifact import ArtifactCache
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model
from workloads.workload import Workload


def main() -> None:
    """Prints a line for each shape, and the bytes that a device gets for all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--quant", default="fp32")
    parser.add_argument("--cache", type=Path, help="export into this folder, and keep it")
    parser.add_argument("shapes", nargs="+", metavar="q,b,T")
    given = parser.parse_args()
    shapes = [tuple(int(number) for number in shape.split(",")) for shape in given.shapes]
    weights = load_model(given.model)
    with tempfile.TemporaryDirectory() as folder:
        cache = ArtifactCache(given.cache or Path(folder))
        workloads = [Workload(given.model, given.quant, q=q, b=b, T=T) for q, b, T in shapes]
        for line in lines(cache, weights, workloads):
            print(line, flush=True)


def lines(cache: ArtifactCache, weights: ModelWeights, workloads: Sequence[Workload]) -> Iterator[str]:
    """Exports each workload and yields its costs; the last line is for all files, shared ones counted once."""
    sizes: dict[Path, int] = {}
    alone = 0
    for workload in workloads:
        wall_s, processor_s = time.monotonic(), time.process_time()
        artifact = cache.export(workload, weights)
        wall_s, processor_s = time.monotonic() - wall_s, time.process_time() - processor_s
        sizes[artifact.program] = artifact.program_bytes
        sizes |= {file.path: file.size_bytes for file in artifact.data}
        alone += artifact.deployed_bytes
        yield (
            f"q={workload.q} b={workload.b} T={workload.T}: {artifact.program_bytes / 1e6:.2f} MB, "
            f"{wall_s:.1f} s, {processor_s:.1f} s of the processor"
        )
    yield f"{len(workloads)} shapes: {sum(sizes.values()) / 1e6:.1f} MB; {alone / 1e6:.1f} MB if nothing were shared"


if __name__ == "__main__":
    main()
