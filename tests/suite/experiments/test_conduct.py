"""Carrying out an experiment: parts in turn, what an error costs, going on after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from reports.model.experiment import Answer, Evidence, Experiment, PartKind
from suite.display import Display
from suite.errors import StoreError
from suite.experiments import conduct
from suite.experiments import work as work_of_plans
from suite.experiments.experiment import Bench, Definition, Work
from suite.experiments.kept import open_experiment, read_experiment
from suite.experiments.material import Material
from suite.experiments.work import Profiling
from suite.home import Home
from suite.measuring.orchestrate import claimed
from suite.planning.plan import Plan


@dataclass
class _Work:
    """Work that does as it is told, and remembers how it was called."""

    error: BaseException | None = None
    complete: bool = True
    calls: list[str] = field(default_factory=list)
    kind: PartKind = "own"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        self.calls.append(f"go on with {made_id}" if made_id else "begin")
        begun(made_id or "made-1")
        if self.error is not None:
            raise self.error
        return self.complete


def _answer(material: Material, device: str) -> Answer:
    parts = material.experiment.parts
    return Answer(f"{device}: {len(parts)} parts.", evidence=(Evidence("Parts", ("name",), ((parts[0].name,),)),))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    inventory = Inventory(
        tmp_path, {"local": DeviceEntry(name="local", kind="local", transport="local", workdir="device")}, {}
    )
    return Bench(inventory, Home(tmp_path), Display(), ("suite", "experiment", "made"))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, _Work]:
    """The parts of the experiment; one named more comes after the others were looked at."""
    found = {"first": _Work(), "second": _Work()}

    def planned_work(*_given: object) -> Mapping[str, Work]:
        return {name: each for name, each in found.items() if name != "more"}

    def more(material: Material) -> Mapping[str, Work]:
        assert [part.name for part in material.experiment.parts] == ["first", "second"]
        return {"more": found["more"]} if "more" in found else {}

    monkeypatch.setattr(conduct, "planned_work", planned_work)
    monkeypatch.setattr(conduct, "load_definition", lambda _name: Definition(_answer, more))
    return found


def _begin(bench: Bench) -> Experiment:
    return conduct.begin("parallelism", ("local",), None, quick=True, bench=bench)


def test_parts_are_done_in_turn_and_answered(bench: Bench, work: dict[str, _Work]) -> None:
    work["more"] = _Work()
    found = _begin(bench)
    assert [(part.name, part.status, part.made_id) for part in found.parts] == [
        ("first", "finished", "made-1"),
        ("second", "finished", "made-1"),
        ("more", "finished", "made-1"),
    ]
    assert found.status == "finished"
    assert found.answers["local"].sentence == "local: 3 parts."
    assert read_experiment("latest", bench.home) == found


def test_an_error_of_a_part_is_its_reason_and_costs_no_other(bench: Bench, work: dict[str, _Work]) -> None:
    work["first"].error = UserError("there is no room")
    found = _begin(bench)
    assert [(part.status, part.reason) for part in found.parts] == [("failed", "there is no room"), ("finished", "")]
    assert found.status == "partial"
    assert "first: there is no room" in found.answers["local"].missing


def test_a_part_without_all_of_its_results_leaves_the_experiment_partial(bench: Bench, work: dict[str, _Work]) -> None:
    work["second"].complete = False
    found = _begin(bench)
    assert [part.status for part in found.parts] == ["finished", "partial"]
    assert found.status == "partial"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("the disk is full"), RuntimeError("a bug")])
def test_what_was_interrupted_goes_on_where_it_was(error: BaseException, bench: Bench, work: dict[str, _Work]) -> None:
    work["second"].error = error
    with pytest.raises(type(error)):
        _begin(bench)
    left = open_experiment("parallelism", bench.home)
    assert (left.status, [part.status for part in left.parts]) == ("interrupted", ["finished", "running"])
    work["second"].error = None
    found = conduct.go_on(left, bench)
    assert found.status == "finished"
    assert work["first"].calls == ["begin"]
    assert work["second"].calls == ["begin", "go on with made-1"]
    with pytest.raises(UserError, match="no interrupted experiment parallelism to resume"):
        open_experiment("parallelism", bench.home)


def test_a_profile_that_is_taken_anew_is_that_of_its_part(
    bench: Bench, work: dict[str, Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = iter(["profile-1", "profile-2"])

    def take_profile(
        _plan: Plan, _entry: DeviceEntry, _home: Home, _display: Display, begun: Callable[[str], None]
    ) -> Any:
        profile_id = next(attempts)
        begun(profile_id)
        if profile_id == "profile-1":
            raise KeyboardInterrupt
        return SimpleNamespace(settings=("fp32",), failed={})

    monkeypatch.setattr(work_of_plans, "take_profile", take_profile)
    work["second"] = Profiling(Plan(("local",), model="tiny"))
    with pytest.raises(KeyboardInterrupt):
        _begin(bench)
    found = conduct.go_on(open_experiment(None, bench.home), bench)
    assert [(part.status, part.made_id) for part in found.parts][1:] == [("finished", "profile-2")]


def test_an_experiment_is_carried_out_by_one_process_at_a_time(bench: Bench, work: dict[str, _Work]) -> None:
    work["second"].error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        _begin(bench)
    left = open_experiment(None, bench.home)
    with claimed(left.experiment_id, bench.home), pytest.raises(UserError, match="is in progress in another process"):
        conduct.go_on(left, bench)
    assert work["second"].calls == ["begin"]


def test_an_experiment_is_known_by_id_or_as_the_latest(bench: Bench, work: dict[str, _Work]) -> None:
    del work["second"]
    with pytest.raises(UserError, match="There is no experiment yet"):
        read_experiment("latest", bench.home)
    work["second"] = _Work()
    found = _begin(bench)
    with pytest.raises(UserError, match="experiment's id"):
        read_experiment(found.experiment_id[:-1] + "x", bench.home)
    (bench.home.experiment_folder(found.experiment_id) / "experiment.json").write_text('{"schema": 2}')
    with pytest.raises(UserError, match="can't be read"):
        read_experiment("latest", bench.home)
