"""Which kernels a device's sessions use: the choice from times, when they are measured, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devices.access.connect import Device, connect
from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import DeployFile
from devices.inventory.entry import DeviceEntry
from suite.home import Home
from suite.measuring.kernels import choose, deployed_runner, known_kernels, with_kernels
from suite.preparing.runners import Runners
from suite.sessions.events import ProductEvent
from suite.store.store import Store
from tests.support.suite import recorded_session as recorded

QUANTS = ("bf16", "int8", "nf4", "nf4-double")
PROGRAM = """#!{python} -IS
import json, sys
assert sys.argv[1:] == ["--kernels", "job.json"], sys.argv
job = json.load(open("job.json"))
open({started!r}, "a").write(json.dumps(job) + "\\n")
for line in open({script!r}):
    sys.stdout.write(line)
"""
Times = Mapping[str, float]


def product(quant: str, kernels: str, *ms: float) -> ProductEvent:
    return ProductEvent(event="product", weights=quant, kernels=kernels, ns=tuple(round(1e6 * one) for one in ms))


@pytest.mark.parametrize(
    ("times", "used"),
    [
        ({"avx512": 1.09, "avx2": 1.0, "sse2": 4.0}, "avx512"),
        ({"avx512": 1.11, "avx2": 1.0, "sse2": 4.0}, "avx2"),
        ({"avx512": 1.0, "avx2": 2.0, "sse2": 4.0}, "avx512"),
        ({"avx512_bf16": 1.2, "avx512": 1.05, "avx2": 1.0}, "avx512"),
        ({"avx512": 2.0, "avx2": 1.5, "sse2": 1.0}, "sse2"),
        ({"neon": 1.0}, "neon"),
    ],
)
def test_a_narrower_variant_is_used_where_it_is_faster_by_more_than_ten_percent(times: Times, used: str) -> None:
    # The least time counts: others have waited for something.
    assert choose([product("nf4", name, 9 * ms, ms, 5 * ms) for name, ms in times.items()]) == {"nf4": used}


def test_each_setting_has_a_choice_of_its_own() -> None:
    times = [product("int8", "wide", 1.0), product("int8", "narrow", 2.0), product("nf4", "wide", 2.0)]
    assert choose([*times, product("nf4", "narrow", 1.0)]) == {"int8": "wide", "nf4": "narrow"}


def output(times: Times, quants: tuple[str, ...] = QUANTS, **footer: Any) -> str:
    """What a runner prints that compares the variants that `times` names."""
    header = recorded.header("kernels", threads=1, kernels=next(iter(times), "neon"), variants=list(times) or ["neon"])
    products = [
        {"event": "product", "weights": quant, "kernels": name, "ns": [round(2e6 * ms), round(1e6 * ms)]}
        for quant in quants
        for name, ms in times.items()
    ]
    lines = [header, *products, recorded.footer(steps=0, **footer)]
    return "\n".join(recorded.text(lines)) + "\n"


NARROW = {"avx512": 1.5, "avx2": 1.0, "sse2": 4.0}


@dataclass
class Bench:
    """This machine with a runner that prints a text, and a store."""

    folder: Path
    store: Store
    notes: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of all comparisons so far."""
        path = self.folder / "started"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def runner(self, text: str) -> BuiltRunner:
        (self.folder / "script").write_text(text)
        program = self.folder / "runner"
        paths = {"started": str(self.folder / "started"), "script": str(self.folder / "script")}
        program.write_text(PROGRAM.format(python=sys.executable, **paths))
        content = program.read_bytes()
        file = DeployFile(program, "runner", hashlib.sha256(content).hexdigest(), len(content), executable=True)
        return BuiltRunner(self.folder, "scripted", "x86_64", (file,))

    @contextlib.contextmanager
    def device(self, **entry: Any) -> Iterator[Device]:
        work = str(self.folder / "work")
        options = {"name": "here", "kind": "linux", "transport": "local", "workdir": work, **entry}
        with connect(DeviceEntry(**options), self.folder / "locks") as device:
            yield device

    def kernels(self, found: BuiltRunner, *quants: str, **entry: Any) -> Mapping[str, str]:
        """The kernels that sessions of a run on the device would use."""
        with self.device(**entry) as device:
            made = with_kernels(device, device.facts(), found, quants or ("nf4",), self.store, self.notes.append)
        return made.kernels


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with contextlib.closing(Store.open(tmp_path / "store.sqlite")) as store:
        yield Bench(tmp_path, store)


def test_kernels_are_compared_once_and_kept(bench: Bench) -> None:
    runner = bench.runner(output(NARROW))
    first = bench.kernels(runner)
    assert first == dict.fromkeys(QUANTS, "avx2")
    assert bench.kernels(runner, "fp32", "int8") == first
    assert bench.jobs == [{"schema": 1, "session": "kernels", "threads": 1}]
    assert bench.notes == [f"{quant} uses the kernels avx2: avx512 would take 1.50 times as long" for quant in QUANTS]
    assert list((bench.folder / "work").glob("jobs/*")) == []


def test_on_other_cpus_they_are_compared_there(bench: Bench) -> None:
    runner = bench.runner(output(NARROW))
    bench.kernels(runner)
    bench.kernels(bench.runner(output({"avx512": 1.0, "avx2": 1.2})), cpus=(0,))
    assert [job.get("cpus") for job in bench.jobs] == [None, [0]]
    assert bench.kernels(runner, cpus=(0,))["nf4"] == "avx512"
    assert bench.kernels(runner)["nf4"] == "avx2"


def test_an_earlier_runner_keeps_what_it_had(bench: Bench) -> None:
    earlier = bench.runner(output(NARROW))
    with bench.device() as device:
        assert known_kernels(device, device.facts(), earlier, bench.store) == earlier
    bench.kernels(earlier)
    with bench.device() as device:
        assert known_kernels(device, device.facts(), earlier, bench.store).kernels["nf4"] == "avx2"
    assert len(bench.jobs) == 1


def test_one_variant_leaves_nothing_to_choose(bench: Bench) -> None:
    assert bench.kernels(bench.runner(output({}))) == {}
    assert bench.kernels(bench.runner(output({}))) == {}
    assert (len(bench.jobs), bench.notes) == (1, [])


@pytest.mark.parametrize(
    ("quants", "entry"),
    [(("fp32", "fp16", "int8-dynamic"), {}), (("nf4",), {"emulated": True}), (("nf4",), {"runner": "/own/runner"})],
)
def test_nothing_is_compared_where_it_would_say_nothing(
    bench: Bench, quants: tuple[str, ...], entry: dict[str, Any]
) -> None:
    assert bench.kernels(bench.runner(output(NARROW)), *quants, **entry) == {}
    assert (bench.jobs, bench.notes) == ([], [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no header"),
        ("usage: runner JOB.json\n", "no header"),
        (output(NARROW, cause="error", reason="out of luck", stage="execute"), "out of luck"),
        (output(NARROW, QUANTS[:3]), "printed 9 times of products"),
        (output(NARROW, (*QUANTS, "nf4")), "printed 15 times of products"),
        (output(NARROW, (*QUANTS[:3], "nf5")), "printed 12 times of products"),
        (output(NARROW).replace('"kernels": "sse2"', '"kernels": "\\u001b[2Jsse2"'), "printed 12 times of products"),
        (output(NARROW).replace("[3000000, 1500000]", "[]"), "ns"),
        (output(NARROW).replace("[3000000, 1500000]", "[0]"), "ns.0"),
        (output(NARROW).replace("[3000000, 1500000]", "[1e400]"), "ns.0"),
        (output(NARROW).replace('"event": "end"', '"event": "the end"'), "not complete"),
        (output(NARROW) * 100, "more than 200 lines"),
    ],
)
def test_a_comparison_that_fails_costs_a_note(bench: Bench, text: str, sentence: str) -> None:
    runner = bench.runner(text)
    assert bench.kernels(runner) == {}
    (note,) = bench.notes
    assert note.startswith("its kernels were not compared, the widest are used: ")
    assert sentence in note
    assert note.isprintable()
    assert bench.kernels(bench.runner(output(NARROW)))["nf4"] == "avx2"  # nothing was kept of it


def test_commands_without_a_run_share_the_choice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(bench.folder)
    runner = bench.runner(output(NARROW))
    monkeypatch.setattr(Runners, "for_device", lambda *_: runner)
    runners: Any = Runners(bench.folder, None)  # type: ignore[arg-type]
    for _ in range(2):
        with bench.device() as device:
            found = deployed_runner(device, device.facts(), runners, ["nf4"], home, bench.notes.append)
            assert found.kernels["nf4"] == "avx2"
    assert bench.kernels(runner)["nf4"] == "avx2"
    assert len(bench.jobs) == 1


def test_a_store_that_cannot_be_used_costs_a_note(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(bench.folder / "damaged")
    home.store_path.write_text("no store")
    runner = bench.runner(output(NARROW))
    monkeypatch.setattr(Runners, "for_device", lambda *_: runner)
    runners: Any = Runners(bench.folder, None)  # type: ignore[arg-type]
    with bench.device() as device:
        assert deployed_runner(device, device.facts(), runners, ["nf4"], home, bench.notes.append).kernels == {}
        assert (Path(device.places.runner("scripted")) / "runner").is_file()
    (note,) = bench.notes
    assert note.startswith("which of its kernels are the fastest is not known, the widest are used: ")
