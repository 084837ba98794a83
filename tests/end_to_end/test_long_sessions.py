"""`suite experiment` memory, sustained and power-modes in their quick versions, on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.end_to_end.suite_runs import Bench


def quick_answer(bench: Bench, name: str) -> dict[str, object]:
    """Makes the quick version and returns the answer for this machine."""
    ran = bench("experiment", name, "--quick", "--json")
    assert ran.code == 0, ran.err
    assert Path(ran.document["page"]).is_file()
    assert {part["status"] for part in ran.document["parts"]} == {"finished"}
    found: dict[str, object] = ran.document["answers"]["local"]
    assert bench("experiment", "--show", "latest", "--json").document["answers"]["local"] == found
    return found


def test_a_long_session_of_tiny_asks_for_no_memory(bench: Bench) -> None:
    answer = quick_answer(bench, "memory")
    evidence = {table["title"]: table for table in answer["evidence"]}  # type: ignore[attr-defined]
    allocations = evidence["Allocations of a measured step"]["rows"]
    assert [row[0] for row in allocations] == ["fp32", "nf4"]
    assert {row[3] for row in allocations} == {0}, "median of a step"
    assert str(answer["sentence"]).count("over 600 steps, 38 times through its batches") == 2
    assert "leaks memory" not in str(answer["sentence"])


def test_a_sustained_session_has_all_three_step_times(bench: Bench) -> None:
    answer = quick_answer(bench, "sustained")
    paces = answer["evidence"][0]  # type: ignore[index]
    assert paces["heads"][1:4] == ["first step, ms", "warmed up, ms", "sustained, ms"]
    assert all(ms > 0 for ms in paces["rows"][0][1:4])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is one set of cores")
def test_sets_of_cores_stand_for_power_modes(bench: Bench) -> None:
    answer = quick_answer(bench, "power-modes")
    modes = [row[:2] for row in answer["evidence"][0]["rows"]]  # type: ignore[index]
    assert modes[:2] == [["1 core", "cores 0"], ["2 cores", "cores 0,1"]]
    assert "is the fastest of its sets of cores" in str(answer["sentence"])


def test_a_power_mode_that_can_not_be_set_is_a_sentence(bench: Bench) -> None:
    """This machine has no nvpmodel."""
    modes = {"all": {"cpus": [0]}, "15W": {"nvpmodel": 2}}
    entry = {"kind": "local", "power_modes": modes}
    (bench.folder / "inventory.yaml").write_text(json.dumps({"devices": {"local": entry}}))
    ran = bench("experiment", "power-modes", "--quick")
    assert ran.code == 4, ran.err
    assert "15W" in ran.out
    assert "could not be restored" in ran.out
    assert "all is the fastest with " in ran.out
