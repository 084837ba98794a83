"""The job that a process of the runner gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from suite.measuring.job import Job, _document

DEVICE: Any = SimpleNamespace(entry=SimpleNamespace(threads=2, cpus=None))


def job(**options: Any) -> Job:
    artifact: Any = SimpleNamespace(hash="aa", data=())
    runner: Any = None
    return Job("s", artifact, runner, Path("log"), {}, 1, (0, 0), 1.0, **options)


def test_programs_for_shorter_rows_are_named_beside_the_whole_one() -> None:
    shorter = [SimpleNamespace(hash="bb"), SimpleNamespace(hash="cc")]
    document = _document(DEVICE, job(shorter=shorter), [], [])
    assert document["program"] == "../../artifacts/aa/program.pte"
    assert document["shorter"] == ["../../artifacts/bb/program.pte", "../../artifacts/cc/program.pte"]


def test_a_measurement_has_one_program_as_earlier_runners_know_it() -> None:
    assert "shorter" not in _document(DEVICE, job(), [], [])
