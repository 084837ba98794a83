"""An instant export, for tests of the cache of exports."""

from __future__ import annotations

from pathlib import Path

from workloads.export.data_files import DataCache
from workloads.export.export import ProgramFacts
from workloads.models.weights import ModelWeights
from workloads.workload import Workload

WORKLOAD = Workload("tiny", "fp32", q=1, b=1, T=8, rank=2)
CONTENT = b"a program"


class CountedExport:
    """Replaces the export, which takes seconds, and records each call in a file that processes share."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, workload: Workload, weights: ModelWeights, path: Path, data: DataCache) -> ProgramFacts:
        del weights, data
        with self.log.open("a") as file:
            file.write(f"{workload.quant}\n")
        path.write_bytes(CONTENT)
        return ProgramFacts(1.0, 3, {"add.out": 2}, 5, len(CONTENT), 7)

    @property
    def calls(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0
