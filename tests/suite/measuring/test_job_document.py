"""The job that a process of the runner gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devices.deployment.built_runner import BuiltRunner
from suite.measuring.job import Job, _document

DEVICE: Any = SimpleNamespace(entry=SimpleNamespace(threads=2, cpus=None))


def job(*, narrow: bool = False, **options: Any) -> Job:
    artifact: Any = SimpleNamespace(hash="aa", data=(), quant="nf4")
    runner = BuiltRunner(Path("runner"), "rr", "x86_64", (), kernels={"nf4": "avx2"} if narrow else {})
    return Job("s", artifact, runner, Path("log"), {}, 1, (0, 0), 1.0, **options)


def test_programs_for_shorter_rows_are_named_beside_the_whole_one() -> None:
    shorter = [SimpleNamespace(hash="bb"), SimpleNamespace(hash="cc")]
    document = _document(DEVICE, job(shorter=shorter), [], [])
    assert document["program"] == "../../artifacts/aa/program.pte"
    assert document["shorter"] == ["../../artifacts/bb/program.pte", "../../artifacts/cc/program.pte"]


def test_a_measurement_has_one_program_as_earlier_runners_know_it() -> None:
    document = _document(DEVICE, job(), [], [])
    assert "shorter" not in document
    assert "kernels" not in document


def test_kernels_that_were_chosen_for_the_setting_are_named() -> None:
    assert _document(DEVICE, job(narrow=True), [], [])["kernels"] == "avx2"
