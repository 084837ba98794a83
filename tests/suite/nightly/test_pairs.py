"""Sessions of baseline and candidate as the fleet is asked for them, and as pairs of what it brings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reports.model.measurement import Measurement
from reports.model.quantities import METRICS
from suite.measuring.recording import RecordedMeasurement
from suite.measuring.run import Run
from suite.nightly import judging, night
from suite.nightly.evidence import Baseline
from suite.nightly.judging import ToConfirm, measure_pairs
from suite.planning.plan import Plan, RunPlan
from suite.preparing.preparation import Prepared
from suite.regression.confirmation import FIRST_PAIRS

LATENCY = METRICS[0]
WORKLOAD = {"model": "tiny", "quant": "nf4"}


class Fleet:
    """Answers with these sessions, role by role; `asked` is what was asked of it."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[int, float]] = {}
        self.reasons: dict[str, str | None] = {"baseline": None, "candidate": None}
        self.requests: list[Run] = []

    def measure(self, run: Run, entries: Any) -> list[RecordedMeasurement]:
        self.requests.append(run)
        assert entries == ["entry of board"]
        return [
            RecordedMeasurement(
                number,
                role,
                Measurement.from_document({"device": "board", "workload": WORKLOAD, "reason": self.reasons[role]}),
                {ordinal: Measurement.from_document({"latency_ms": {"median": ms}}) for ordinal, ms in found.items()},
            )
            for number, (role, found) in enumerate(self.sessions.items())
        ]


@pytest.fixture
def fleet(monkeypatch):
    made = Fleet()
    monkeypatch.setattr(judging, "measure_fleet", made.measure)
    monkeypatch.setattr(judging, "describe_workload", lambda _: WORKLOAD)
    return made


def named(name: str) -> Any:
    return SimpleNamespace(name=name, quant="nf4")


def again(count: int = FIRST_PAIRS):
    plan = Plan(devices=("board", "other"), model="tiny", quants=("fp32", "nf4"), q=2, b=2, T=32, sessions=5)
    tonight = Prepared(plan, named("w"), named("tonight"), named("data"), named("losses"), named("estimate"))
    item = ToConfirm("board", tonight, Baseline(named("earlier"), named("its program"), named("its runner")))
    weights: Any = SimpleNamespace(weights_source={})
    run = Run("r", RunPlan((plan,), budget_minutes=60.0), weights, *[named("x")] * 4)
    entries: Any = {"board": "entry of board", "other": "no"}
    (found,) = measure_pairs(run, entries, [item], count).values()
    return found


def test_the_baseline_goes_first_with_its_own_program_and_runner_on_the_suspects_device_alone(fleet):
    fleet.sessions = {"baseline": {0: 1.0}, "candidate": {0: 1.0}}
    again(7)
    (run,) = fleet.requests
    baseline, candidate = run.preparation.prepared
    assert (baseline.role, baseline.artifact.name, baseline.runner.name) == ("baseline", "its program", "its runner")
    assert (candidate.role, candidate.artifact.name, candidate.runner) == ("candidate", "tonight", None)
    assert baseline.plan == candidate.plan
    assert (candidate.plan.devices, candidate.plan.quants, candidate.plan.sessions) == (("board",), ("nf4",), 7)
    assert (run.plan.devices, run.plan.budget_minutes) == (("board",), 60.0)


def test_sessions_of_the_same_turn_are_a_pair_and_those_without_a_partner_none(fleet):
    fleet.sessions = {"baseline": {0: 100.0, 1: 101.0, 3: 103.0}, "candidate": {3: 113.0, 1: 111.0, 2: 112.0}}
    found = again().of(LATENCY)
    assert [(pair.baseline, pair.candidate) for pair in found] == [(101.0, 111.0), (103.0, 113.0)]


def test_the_reason_names_what_is_wrong_with_either_side(fleet):
    fleet.sessions = {"baseline": {0: 1.0}, "candidate": {0: 1.0}}
    assert again().reason is None
    fleet.reasons = {"baseline": "it was lost", "candidate": "too hot"}
    assert again().reason == "the baseline: it was lost; the candidate: too hot"


def test_the_command_that_measures_a_verdict_again_names_its_own_device_and_setting():
    plan = Plan(devices=("board", "other"), model="tiny", quants=("fp32", "nf4"), q=2, b=2, T=32, sessions=5)
    prepared = [Prepared(plan, workload, *[named("x")] * 4) for workload in plan.workloads(1)]
    commands = night._commands(SimpleNamespace(preparation=SimpleNamespace(prepared=prepared)))
    assert {(device, key.split("/")[2]) for device, key in commands} == {
        (device, quant) for device in plan.devices for quant in plan.quants
    }  # fmt: skip
    for (device, key), command in commands.items():
        assert command.startswith(
            f"suite run --device {device} --quant {key.split('/')[2]} --model tiny -q 2 -b 2 -T 32"
        )


def test_nothing_to_confirm_asks_nobody(fleet):
    assert measure_pairs(SimpleNamespace(), {}, [], FIRST_PAIRS) == {}
    assert fleet.requests == []
