"""What a program costs in memory."""

from __future__ import annotations

import pytest
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

from tests.support.runner import runner_programs as programs

pytestmark = pytest.mark.slow

LAYERS, FEATURES = 4, 2048
WEIGHTS_KIB = LAYERS * FEATURES * FEATURES * 4 / 1024


def test_weights_that_a_delegate_packs_are_not_resident_twice(run, job, tmp_path):
    layers = torch.nn.Sequential(*(torch.nn.Linear(FEATURES, FEATURES, bias=False) for _ in range(LAYERS)))
    path = programs.export(layers, (torch.zeros(1, FEATURES),), tmp_path / "layers.pte", XnnpackPartitioner())
    job["program"] = str(path)
    job["inputs"] = [{"name": "x", "dtype": "float32", "shape": [1, FEATURES], "value": [0.0] * FEATURES}]
    baseline = 16 * 1024
    load = run(job).of("load")[0]
    assert WEIGHTS_KIB < load["hwm_kib"] < 1.5 * WEIGHTS_KIB + baseline
    assert load["rss_kib"] < WEIGHTS_KIB + baseline


def test_constants_that_no_step_touches_cost_no_memory(run, job, tmp_path):
    class Lookup(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(65_536, 256)  # 64 MiB

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = self.table(tokens)
            return rows

    job["program"] = str(programs.export(Lookup(), (torch.zeros(4, dtype=torch.int64),), tmp_path / "table.pte"))
    job["inputs"] = [{"name": "tokens", "dtype": "int64", "shape": [4], "value": [0, 1, 40_000, 65_535]}]
    assert run(job).footer["hwm_kib"] < 24 * 1024


def test_rows_of_a_table_that_nothing_else_reads_are_not_mapped(run, job, tmp_path):
    """256 rows, each in pages of its own: the system maps 64 KiB around each one that is touched."""
    tokens = torch.arange(0, 65_536, 256)
    peaks = {}
    for alone in (True, False):
        module = programs.Embedded(torch.zeros(65_536, 256), [], alone)
        job["program"] = str(programs.export(module, (tokens,), tmp_path / f"{alone}.pte"))
        job["inputs"] = [{"name": "tokens", "dtype": "int64", "shape": [256], "value": tokens.tolist()}]
        peaks[alone] = run(job).footer["hwm_kib"]
    assert peaks[True] < peaks[False] - 8 * 1024
