"""Trainings out of a store, as reports take them: lines, groups with races, stamps that change with what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.model.training import Evaluation
from reports.site.build import build_training
from suite.report_data.source import StoreSource
from suite.store.store import Store
from suite.store.trainings import Trainings
from tests.support.reports.training_fixtures import GROUP_ID, made_up

MADE_UP = [
    made_up([(0, 0.5), (10, 0.6), (20, 0.8)], step_mj=2.0, note="throttled", reason="made all 20 steps"),
    made_up([(0, 0.5), (10, 0.7)], quant="nf4", status="failed", reason="the device went away"),
]


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def fill(store: Store) -> Trainings:
    """Stores the made-up trainings as a command stores them."""
    device_id = store.record_device("jetson", "jetson", False, {"cpu": "arm64"})
    trainings = Trainings(store.database)
    trainings.begin_group(GROUP_ID, [], ["suite", "train", "--task", "my file"], {"torch": "2.13.0"})
    for one in MADE_UP:
        trainings.begin(one.training_id, GROUP_ID, device_id, one.workload, one.seed, one.plan)
        for segment in one.segments:
            trainings.add_segment(one.training_id, segment)
        for evaluation in one.evaluations:
            trainings.add_evaluation(one.training_id, evaluation)
        trainings.finish(one.training_id, one.status, one.reason)
    trainings.finish_group(GROUP_ID, "partial")
    return trainings


def test_a_line_sums_up_the_trainings_of_a_command(store: Store) -> None:
    fill(store)
    (found,) = StoreSource(store).training_groups()
    assert (found.group_id, found.status, found.command) == (GROUP_ID, "partial", "suite train --task 'my file'")
    assert (found.models, found.devices, found.ways) == (["smollm2-135m"], ["jetson"], ["prge fp32", "prge nf4"])
    assert (dict(found.outcomes), found.accuracies) == ({"finished": 1, "failed": 1}, (0.7, 0.8))


def test_a_group_has_its_trainings_and_the_race_between_them(store: Store) -> None:
    fill(store)
    found = StoreSource(store).training_group(GROUP_ID)
    assert [one.segments for one in found.trainings] == [one.segments for one in MADE_UP]
    assert [one.evaluations for one in found.trainings] == [one.evaluations for one in MADE_UP]
    assert [one.forward_tokens for one in found.trainings] == [2 * 4 * 4 * 64] * 2
    assert [one.name for one in found.races[0].contenders] == ["prge fp32", "prge nf4"]
    assert found.environment == {"torch": "2.13.0"}


def test_a_group_without_trainings_has_a_page_too(store: Store, tmp_path: Path) -> None:
    Trainings(store.database).begin_group(GROUP_ID, [], ["suite", "train"], {})
    assert "No training was started" in build_training(StoreSource(store), tmp_path / "site", GROUP_ID).read_text()


def test_stamp_changes_whenever_a_training_goes_on(store: Store) -> None:
    trainings = fill(store)

    def stamp() -> str:
        (found,) = StoreSource(store).training_groups()
        return found.stamp

    before = stamp()
    assert stamp() == before
    trainings.add_evaluation(MADE_UP[1].training_id, Evaluation(20, 400, 0.75, 0.4, 3.0))
    evaluated = stamp()
    trainings.finish(MADE_UP[1].training_id, "finished", "made all 20 steps")
    finished = stamp()
    trainings.finish_group(GROUP_ID, "finished")
    assert len({before, evaluated, finished, stamp()}) == 4
