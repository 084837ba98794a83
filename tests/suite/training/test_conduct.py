"""The trainings of one device: what goes wrong with one is its reason, and costs no other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.errors import DeployError, DeviceLost
from devices.inventory.entry import DeviceEntry
from foundation.errors import UserError
from suite.display import Display
from suite.home import Home
from suite.measuring.idle_device import ThermalGate
from suite.measuring.run import Stopped
from suite.planning.plan import Plan
from suite.store.store import Store
from suite.store.trainings import Trainings
from suite.training import conduct
from suite.training.plan import TrainingPlan
from suite.training.trainer import Ground
from workloads.workload import Workload

QUANTS = ("fp32", "int8", "nf4")
PLAN = TrainingPlan(Plan(("board",), model="tiny", quants=QUANTS))
ENTRY = DeviceEntry(name="board", kind="linux", transport="local", workdir="/work")


def candidate(quant: str) -> Any:
    """A setting whose artifact is named after it."""
    estimate = SimpleNamespace(memory_bytes=1, flops_per_step=1, state_bytes=1)
    prepared = SimpleNamespace(workload=Workload("tiny", quant), artifact=quant, estimate=estimate)
    return conduct.Candidate(PLAN, prepared, prepared, SimpleNamespace())  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "store.sqlite")) as opened:
        Trainings(opened.database).begin_group("g", [PLAN.document()], (), {})
        yield opened


@pytest.fixture
def on_device(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainings of a device that does whatever it is asked."""
    board = SimpleNamespace(
        entry=ENTRY,
        left_over_pid=None,
        tree=None,
        facts=lambda: SimpleNamespace(machine="aarch64"),
        preflight=lambda _needs: [],
        sensors=lambda: SimpleNamespace(sensors=()),
    )
    room = SimpleNamespace(mark_used=lambda: None)
    monkeypatch.setattr(conduct, "connect", lambda *_: contextlib.nullcontext(board))
    monkeypatch.setattr(conduct, "hardware_of", lambda _facts: {})
    monkeypatch.setattr(conduct, "needs", lambda *_: None)
    monkeypatch.setattr(conduct, "remove_old_jobs", lambda _device: None)
    monkeypatch.setattr(conduct, "check_memory", lambda *_: SimpleNamespace(status="ok"))
    monkeypatch.setattr(conduct, "CacheRoom", SimpleNamespace(of=lambda *_: room))
    monkeypatch.setattr(conduct, "deploy_runner", lambda *_: None)
    monkeypatch.setattr(conduct, "with_kernels", lambda *_: None)
    monkeypatch.setattr(conduct, "deploy_program", lambda *_: [])
    monkeypatch.setattr(conduct, "train", lambda *_: "made all steps")
    runners: Any = SimpleNamespace(for_device=lambda *_: None)
    shared = conduct._Shared(
        "g",
        [candidate(quant) for quant in QUANTS],
        [],
        runners,
        Home(tmp_path),
        store,
        Display(),  # type: ignore[arg-type]
    )
    return conduct._OnDevice(shared, ENTRY)


def outcomes(store: Store) -> dict[str, tuple[str, str | None]]:
    return {str(one.workload["quant"]): (one.status, one.reason) for one in Trainings(store.database).in_group("g")}


def test_a_program_that_cannot_be_deployed_costs_its_own_training(
    on_device: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploy(_device: Any, artifact: str, *_: Any) -> list[Any]:
        if artifact == "int8":
            raise DeployError("its disk is full")
        return []

    monkeypatch.setattr(conduct, "deploy_program", deploy)
    on_device.train_all()
    made = ("finished", "made all steps")
    assert outcomes(store) == {"fp32": made, "int8": ("failed", "its disk is full"), "nf4": made}


def test_contenders_of_one_workload_keep_apart_and_go_on_each_with_its_own_training(
    on_device: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [replace(candidate("fp32"), plan=replace(PLAN, own_settings={"lr": lr})) for lr in (0.01, 0.001)]
    shared = replace(on_device.shared, candidates=rivals)

    def ids_after(train: Any) -> list[tuple[Any, str, str]]:
        monkeypatch.setattr(conduct, "train", train)
        with contextlib.suppress(Stopped):
            conduct._OnDevice(shared, ENTRY).train_all()
        found = Trainings(store.database).in_group("g")
        return [(one.workload["lr"], one.status, one.training_id) for one in found]

    def stop_at_second(course: Any, *_: Any) -> str:
        if course.plan is rivals[1].plan:
            raise Stopped
        return "made all steps"

    first = ids_after(stop_at_second)
    assert [each[:2] for each in first] == [(0.01, "finished"), (0.001, "interrupted")]
    resumed = ids_after(lambda *_: "made all steps")
    assert resumed == [(lr, "finished", training_id) for lr, _, training_id in first]


def test_states_that_the_disk_cannot_take_cost_their_own_training(on_device: Any, store: Store) -> None:
    on_device.shared.candidates[1].steps.estimate.state_bytes = 1 << 60
    on_device.train_all()
    status, reason = outcomes(store)["int8"]
    assert status == "failed"
    assert reason is not None
    assert "a state of this training has 1152921504607 MB" in reason
    assert [each for each, _ in outcomes(store).values()].count("finished") == 2


def test_a_device_that_stays_lost_is_the_reason_of_what_is_left(
    on_device: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(course: Any, *_: Any) -> str:
        if course.steps.artifact != "fp32":
            raise DeviceLost("it went away")
        return "made all steps"

    monkeypatch.setattr(conduct, "train", train)
    monkeypatch.setattr("suite.measuring.reaching.RECONNECT_SECONDS", (0.0, 0.0))
    on_device.train_all()
    lost = ("failed", "it went away")
    assert outcomes(store) == {"fp32": ("finished", "made all steps"), "int8": lost, "nf4": lost}


def test_only_programs_for_shorter_rows_that_were_made_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    made, notes, tried, found = candidate("fp32").steps, list[str](), list[tuple[int, Any]](), list[Any]()

    def prepare(plan: Plan, *_: Any, obstacles: Any, **__: Any) -> Any:
        tried.append((plan.T, obstacles))
        return SimpleNamespace(prepared=found)

    monkeypatch.setattr(conduct, "prepare", prepare)
    lengths = SimpleNamespace(tokens_of_a_row=lambda _shorter: 32.0)
    material: Any = SimpleNamespace(shorter=(16, 40), lengths=lengths)
    failed: Any = {"int8": UserError("its export failed")}
    nothing: Any = None
    assert conduct._for_shorter_rows(PLAN, material, nothing, nothing, notes.append, failed) == {}
    assert not notes
    found.append(made)
    both = {"fp32": (made, made)}
    assert conduct._for_shorter_rows(PLAN, material, nothing, nothing, notes.append, failed) == both
    assert "rows of 16 and 40 tokens" in "".join(notes)
    assert tried == [(16, failed), (40, failed)] * 2


def test_obstacles_are_those_of_a_plan_whatever_its_seed_and_learning_rate() -> None:
    inventory: Any = SimpleNamespace(devices={"board": ENTRY}, select=lambda _names: [ENTRY])
    plans = [Plan(("board",), model="tiny", quants=QUANTS, seed=seed) for seed in (7, 8, 9)]
    assert conduct._obstacles(plans, inventory) == [{}, {}, {}]
    rivals = [replace(plans[0], lr=1e-2), replace(plans[0], outer=True), replace(plans[0], b=8)]
    assert conduct._obstacles(rivals, inventory) == [{}, {}, {}]
    with pytest.raises(UserError, match="evaluate"):
        conduct._obstacles([Plan(("board",), model="tiny", method="evaluate", q=1)], inventory)


def test_a_device_that_is_too_hot_cools_down_before_steps_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    device: Any = SimpleNamespace(sensors=lambda: SimpleNamespace(sensors=()))
    monkeypatch.setattr(ThermalGate, "wait", lambda *_: "cpu was still 9 degC above the run's start")
    ground = Ground(device, None, None, ThermalGate({}), notes.append, lambda: None, None)  # type: ignore[arg-type]
    ground.cool_down()
    assert notes == ["cpu was still 9 degC above the run's start"]
