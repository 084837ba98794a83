"""`runner --peaks`: what it prints, and that the processor really did what it counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devices.processes import ProcessEnd
from devices.runner_builds.build import native_toolchain
from suite.sessions.collect import collect

JOB = {"schema": 1, "session": "p", "threads": 2}
LOOPS = Path(__file__).parents[3] / "devices" / "runner"
SETS = {
    "x86_64": ["avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "avx512bw", "avx2", "fma"],
    "aarch64": ["asimddp", "asimdhp", "bf16", "i8mm"],
}
COUNT = """
#include <cstdio>
#include "peak_loops.h"

int main(int argc, char** argv) {
  for (const runner::ComputeLoop& loop : runner::compute_loops({argv + 1, argv + argc})) {
    for (const int64_t rounds : {int64_t{1}, loop.rounds / 3, loop.rounds}) {
      std::printf("%s %s %lld %lld\\n", loop.dtype, loop.instructions, static_cast<long long>(loop.run(rounds)),
                  static_cast<long long>(rounds * loop.products_per_round));
    }
  }
}
"""


def peaks(runner: Path, job: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "job.json").write_text(json.dumps(job))
    command = [str(runner), "--peaks", str(folder / "job.json")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_results_prove_every_operation_and_every_byte(runner: Path, tmp_path: Path) -> None:
    done = peaks(runner, JOB, tmp_path)
    record = collect("p", done.stdout.splitlines(), ProcessEnd(rc=done.returncode))
    assert record.complete, record.sentence
    assert record.header is not None
    assert record.header.threads == 2
    assert [peak.made for peak in record.peaks] == [peak.count for peak in record.peaks]
    assert all(3 <= len(peak.ns) <= 30 for peak in record.peaks)
    of_types = [peak.of for peak in record.peaks if peak.unit == "operations"]
    assert of_types[0] == "float32"
    assert of_types[-1] == "int8"
    of_memory = [(peak.by, peak.of) for peak in record.peaks if peak.unit == "bytes"]
    assert of_memory == [(place, way) for place in ("cache", "memory") for way in ("read", "copy", "triad")]
    sizes = {peak.by: peak.buffer_bytes or 0 for peak in record.peaks if peak.unit == "bytes"}
    assert 0 < sizes["cache"] <= 2 << 20 < sizes["memory"]


def test_instructions_are_among_those_of_the_processor(runner: Path, tmp_path: Path) -> None:
    done = peaks(runner, {**JOB, "threads": 1, "cpus": [min(os.sched_getaffinity(0))]}, tmp_path)
    header, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (header["threads"], header["cpus_allowed"]) == (1, [min(os.sched_getaffinity(0))])
    known = {*header["cpu_features"], "sse2", "asimd", "scalar"}
    assert {line["by"] for line in lines if line.get("unit") == "operations"} <= known


@pytest.mark.slow
def test_each_instruction_set_of_this_processor_counts_its_own_products(tmp_path: Path) -> None:
    (tmp_path / "count.cpp").write_text(COUNT)
    command = [str(native_toolchain().compiler), "-std=c++17", "-O3", "-I", str(LOOPS)]
    command += [str(tmp_path / "count.cpp"), str(LOOPS / "peak_loops.cpp"), "-o", str(tmp_path / "count")]
    subprocess.run(command, check=True, timeout=300)
    flags = Path("/proc/cpuinfo").read_text().split()
    own = [name for name in SETS.get(os.uname().machine, []) if name in flags]
    seen = set()
    for features in (own[start:] for start in range(len(own) + 1)):
        counted = subprocess.run(
            [tmp_path / "count", *features], capture_output=True, text=True, timeout=60, check=True
        )
        for line in counted.stdout.splitlines():
            dtype, instructions, products, expected = line.split()
            assert products == expected, line
            seen.add((dtype, instructions))
    assert {dtype for dtype, _ in seen} >= {"float32", "int8"}
    assert len(seen) >= len(own) // 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threads": 0}, "job.threads must be a whole number from 1 to 1024."),
        ({"program": "a.pte"}, "job.program is not a key of a job."),
        ({"cpus": [1023]}, "The cpus of the job can't be used"),
    ],
)
def test_a_job_it_cannot_do_is_refused(runner: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    done = peaks(runner, JOB | change, tmp_path)
    footer, end = [json.loads(line) for line in done.stdout.splitlines()][-2:]
    assert (done.returncode, footer["cause"], footer["stage"], end["event"]) == (1, "error", "job", "end")
    assert footer["reason"].startswith(reason)


def test_asked_to_stop_it_ends_with_what_it_has(runner: Path, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    command = [str(runner), "--peaks", str(tmp_path / "job.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in ("header", "first peak")]
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.readlines()
    record = collect("p", lines, ProcessEnd(rc=process.returncode))
    assert (process.returncode, record.cause) == (1, "interrupted")
    assert 1 <= len(record.peaks) < 8
