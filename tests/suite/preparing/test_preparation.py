"""Preparing a plan: what is exported and computed in which process, and at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from suite.errors import SuiteError
from suite.planning.plan import Plan
from suite.preparing import preparation
from suite.preparing.exporting import Exporter
from suite.preparing.preparation import EXPORT_LOG, NOT_YET, REFERENCE_LOG, Inputs, Preparation, load_inputs, prepare
from workloads.estimates.estimate import estimate
from workloads.export.artifact import Artifact, ArtifactCache
from workloads.lowering.arithmetic_probe import PROBE, Accumulation
from workloads.reference.expected_losses import ReferenceLosses
from workloads.workload import Workload

PLAN = Plan((), model="tiny", quants=("fp32", "int8", "nf4"))
HALF = Plan((), model="tiny", quants=("fp16",))
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return load_inputs(PLAN, lambda _note: None)


class Processes:
    """Stands in for the exporting processes. `orders` are (log, setting, whether losses were asked for), as answered.

    `before` is called in the thread that asks, before each answer.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orders: list[tuple[str, str, bool]] = []
        self.before: Callable[[str, bool], None] = lambda _quant, _losses: None
        self.exported: set[str] = set()
        self.accumulations: list[Accumulation | None] = []
        self.cache = ArtifactCache(folder)
        lock = threading.Lock()

        def export(
            exporter: Exporter, _plan: Plan, quant: str, _notify: object, accumulation: Accumulation | None
        ) -> ReferenceLosses:
            losses = accumulation is not None
            self.accumulations.append(accumulation)
            self.before(quant, losses)
            with lock:
                self.orders.append((exporter.log.name, quant, losses))
                self.exported.add(quant)
            return ReferenceLosses(((float(len(quant)),),) if losses else ())

        def find(_cache: ArtifactCache, workload: Workload, *_: object) -> Artifact | None:
            document: dict[str, Any] = {"export_seconds": 1.0, "program_bytes": 1_000_000}
            return Artifact(folder, document) if workload.quant in self.exported else None

        monkeypatch.setattr(Exporter, "export", export)
        monkeypatch.setattr(ArtifactCache, "find", find)

    def prepare(self, inputs: Inputs, plan: Plan = PLAN, **options: Any) -> Preparation:
        return prepare(plan, inputs, self.cache, lambda _note: None, **options)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(tmp_path, monkeypatch)


def let_references_take(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "reference_seconds", lambda *_: seconds)


def test_short_losses_follow_their_program_in_the_same_process(processes: Processes, inputs: Inputs) -> None:
    found = processes.prepare(inputs)
    assert processes.orders == [(EXPORT_LOG, quant, losses) for quant in PLAN.quants for losses in (False, True)]
    assert [one.reference.losses for one in found.prepared] == [((4.0,),), ((4.0,),), ((3.0,),)]


def test_the_next_program_is_exported_while_long_losses_are_computed(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)
    begun, exported = threading.Event(), threading.Event()

    def before(quant: str, losses: bool) -> None:
        if losses and quant == "fp32":
            begun.set()
            assert exported.wait(TIMEOUT_S), "the next program waits for these losses"
        if not losses and quant == "int8":
            assert begun.wait(TIMEOUT_S), "the losses wait for the next program"
        if not losses and quant == "nf4":
            exported.set()

    processes.before = before
    found = processes.prepare(inputs)
    assert [one.workload.quant for one in found.prepared] == list(PLAN.quants)
    assert [order for order in processes.orders if not order[2]] == [(EXPORT_LOG, q, False) for q in PLAN.quants]
    # Nothing follows the last program, so its process goes on with its losses.
    logs = (REFERENCE_LOG, REFERENCE_LOG, EXPORT_LOG)
    assert {quant: log for log, quant, losses in processes.orders if losses} == dict(
        zip(PLAN.quants, logs, strict=True)
    )


def test_the_last_programs_losses_do_not_wait_for_earlier_ones(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)
    computed = threading.Event()

    def before(quant: str, losses: bool) -> None:
        if losses and quant == "fp32":
            assert computed.wait(TIMEOUT_S), "the last losses wait for these"
        if losses and quant == "nf4":
            computed.set()

    processes.before = before
    assert [one.reference.losses for one in processes.prepare(inputs).prepared] == [((4.0,),), ((4.0,),), ((3.0,),)]


def test_long_losses_of_programs_that_are_there_take_one_process(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)
    processes.exported |= set(PLAN.quants)
    processes.prepare(inputs)
    assert processes.orders == [(EXPORT_LOG, quant, True) for quant in PLAN.quants]


def test_without_memory_for_both_they_take_turns(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)
    needed = estimate(next(PLAN.workloads(answers=1)), PLAN.config).export_memory_bytes
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": needed}))
    processes.prepare(inputs)
    assert processes.orders == [(EXPORT_LOG, quant, losses) for quant in PLAN.quants for losses in (False, True)]


def test_losses_that_fail_leave_out_their_setting_alone(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)

    def before(quant: str, losses: bool) -> None:
        if losses and quant == "int8":
            raise SuiteError("killed")

    processes.before = before
    found = processes.prepare(inputs)
    assert [one.workload.quant for one in found.prepared] == ["fp32", "nf4"]
    assert [(one.workload.quant, str(one.error)) for one in found.left_out] == [("int8", "killed")]


def test_losses_that_depend_on_the_device_are_computed_for_the_arithmetic_expected_of_it(
    processes: Processes, inputs: Inputs
) -> None:
    asked: list[Path] = []

    def expected(program: Path) -> Accumulation:
        asked.append(program)
        return Accumulation.FP16

    found = processes.prepare(inputs, HALF, expected=expected)
    assert processes.orders == [(EXPORT_LOG, "fp16", False), (EXPORT_LOG, "fp16", True)]
    assert asked == [processes.cache.root / PROBE]
    assert processes.accumulations == [None, Accumulation.FP16]
    (one,) = found.prepared
    assert one.reference is NOT_YET  # the device decides


def test_a_device_is_not_probed_for_losses_that_are_kept(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "kept_losses", lambda *_: ReferenceLosses(((1.0,),)))
    found = processes.prepare(inputs, HALF, expected=lambda _program: pytest.fail("probed"))
    assert processes.orders == [(EXPORT_LOG, "fp16", False)]
    assert [one.reference for one in found.prepared] == [NOT_YET]


@pytest.mark.parametrize("expected", [None, lambda _program: None])
def test_without_an_expectation_such_losses_wait_for_the_device(
    expected: Callable[[Path], None] | None, processes: Processes, inputs: Inputs
) -> None:
    found = processes.prepare(inputs, HALF, expected=expected)
    assert processes.orders == [(EXPORT_LOG, "fp16", False)]
    assert [one.reference for one in found.prepared] == [NOT_YET]


def test_an_interruption_does_not_wait_for_losses(
    processes: Processes, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_references_take(60.0, monkeypatch)
    killed = threading.Event()
    kill = Exporter.kill

    def kill_and_tell(exporter: Exporter) -> None:
        kill(exporter)
        if exporter.log.name == REFERENCE_LOG:
            killed.set()

    def before(quant: str, losses: bool) -> None:
        if losses:
            assert killed.wait(TIMEOUT_S)
            raise SuiteError("killed")
        if quant == "int8":
            raise KeyboardInterrupt

    monkeypatch.setattr(Exporter, "kill", kill_and_tell)
    processes.before = before
    with pytest.raises(KeyboardInterrupt):
        processes.prepare(inputs)
    assert killed.is_set()
