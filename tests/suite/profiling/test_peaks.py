"""Measuring a device's peaks: what is kept of what its runner prints, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import DeployFile
from devices.inventory.entry import DeviceEntry
from reports.model.peaks import Peaks
from suite.display import Display
from suite.errors import SuiteError
from suite.home import Home
from suite.preparing.runners import Runners
from suite.profiling.peaks import latest_peaks, measure_peaks
from tests.support.suite import recorded_session as recorded

Line = dict[str, Any]
PROGRAM = """#!{python} -IS
import json, sys
job = json.load(open(sys.argv[2]))
assert sys.argv[1] == "--peaks", sys.argv
for line in open({script!r}):
    sys.stdout.write(line.replace('"SESSION"', json.dumps(job["session"])).replace('"THREADS"', str(job["threads"])))
"""


def peak(of: str, by: str, unit: str = "operations", **more: Any) -> Line:
    """A peak of 1 GFLOP/s or GB/s and less."""
    found = {"of": of, "by": by, "unit": unit, "count": 5000, "made": 5000, "buffer_bytes": None, "ns": [9000, 5000]}
    if unit == "bytes":
        found["buffer_bytes"] = 4096
    return {"event": "peak", **found, **more}


PEAKS = [
    peak("float32", "avx2"), peak("int8", "avx_vnni", count=20_000, made=20_000),
    *(peak(way, place, "bytes") for place in ("cache", "memory") for way in ("read", "copy", "triad")),
]  # fmt: skip


def output(peaks: list[Line], **footer: Any) -> str:
    """What a runner prints, with the session and the threads of its job."""
    lines = [recorded.header("SESSION", threads="THREADS"), *peaks, recorded.footer(steps=0, **footer)]
    return "\n".join([*(json.dumps(line) for line in lines), json.dumps({"event": "end", "lines": len(lines)}), ""])


Measure = Callable[[str], Peaks]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def measure(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Measures this machine with a runner that prints a text."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(Runners, "build_ahead", lambda *_: None)

    def measure(text: str) -> Peaks:
        (tmp_path / "script").write_text(text)
        program = tmp_path / "runner"
        program.write_text(PROGRAM.format(python=sys.executable, script=str(tmp_path / "script")))
        content = program.read_bytes()
        file = DeployFile(program, "runner", hashlib.sha256(content).hexdigest(), len(content), executable=True)
        runner = BuiltRunner(tmp_path, "scripted", "x86_64", (file,))
        monkeypatch.setattr(Runners, "for_device", lambda *_: runner)
        entry = DeviceEntry(name="here", kind="linux", transport="local", workdir=str(tmp_path / "work"), threads=3)
        return measure_peaks(entry, home, Display())

    return measure


def test_peaks_are_those_of_the_best_repetition_and_are_kept(measure: Measure, home: Home, tmp_path: Path) -> None:
    found = measure(output(PEAKS))
    assert (found.device, found.threads, found.gflops_per_s("float32"), found.gflops_per_s("int8")) == ("here", 3, 1, 4)
    assert (found.gflops_per_s("bfloat16"), found.gb_per_s(), found.machine["cpu"]) == (None, 1, "Some CPU")
    assert latest_peaks("here", home) == found
    assert latest_peaks("there", home) is None
    assert [path.name for path in sorted(home.peaks_folder(found.peaks_id).iterdir())] == ["peaks.json", "runner.jsonl"]
    assert list((tmp_path / "work").glob("jobs/*")) == []


def test_a_damaged_document_is_as_if_it_were_not_there(measure: Measure, home: Home) -> None:
    found = measure(output(PEAKS))
    for name, text in (("9a", "{"), ("9b", '{"schema": 1, "peaks": []}'), ("9c", "[1]")):
        (home.peaks_folder(name) / "peaks.json").write_text(text)
    without_memory = found.document() | {"peaks": found.document()["peaks"][:2]}  # type: ignore[index]
    (home.peaks_folder("9d") / "peaks.json").write_text(json.dumps(without_memory))
    assert latest_peaks("here", home) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (output([*PEAKS, peak("float32", "avx2")]), "two peaks of float32"),
        (output([*PEAKS, peak("read", "memory", "bytes")]), "two peaks of read memory"),
        (output(PEAKS[1:]), "no peak of float32"),
        (output(PEAKS[:5]), "no peak of memory"),
        (output([]), "no peak of float32"),
        (output([peak("float32", "avx2", made=4000)]), "prove 4000 operations instead of 5000"),
        (output([peak("float128", "avx2")]), "an invalid peak, of 5000 operations, float128 by avx2"),
        (output([peak("read", "tape", "bytes")]), "read by tape"),
        (output([peak("\x1b[2Jfloat32", "x" * 3000)]), "float32 by xxx"),
        (output([peak("float32", "avx2", ns=[])]), "ns"),
        (output([peak("float32", "avx2", ns=[0])]), "ns.0"),
        (output([peak("float32", "avx2", count=-1)]), "count"),
        (output([peak("float32", "avx2", count=0, made=0)]), "an invalid peak"),
        (output(PEAKS, cause="error", reason="out of luck", stage="execute"), "out of luck"),
        (output(PEAKS).replace('"event": "end"', '"event": "the end"'), "not complete"),
        (output(PEAKS * 100), "more than 200 lines"),
        ("", "no header"),
        ("usage: runner JOB.json\n", "runners of earlier suites lack --peaks"),
    ],
)
def test_what_cannot_be_is_one_sentence(text: str, sentence: str, measure: Measure, home: Home) -> None:
    with pytest.raises(SuiteError) as refused:
        measure(text)
    assert sentence in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
    assert latest_peaks("here", home) is None
