"""What a night lacks: a device that wasn't reached, a workload that was left out, numbers that a series had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foundation.unavailable import Unavailable
from reports.model.histories import DeviceSummary
from reports.model.statistics import Energy
from suite.nightly.gaps import Gap, find_gaps
from suite.report_data.source import StoreSource
from suite.results.measurement import Subject, measure
from suite.store import schema
from suite.store.store import Store
from tests.support.suite.stored_run import WORKLOAD, Begun, begin, finish

WHY = "the USB meter does not answer"
ENERGY = Energy(900.0, 400.0, "trapezoid of VDD_IN", 10.0, 1.0, False)


def dated(begun: Begun, day: int) -> Begun:
    """Lets a night have begun at noon, UTC, of this day of January."""
    at = f"2026-01-{day:02d}T12:00:00.000+00:00"
    with begun.store.database.writing() as connection:
        connection.execute(schema.run.update().where(schema.run.c.id == begun.run_id).values(started_at=at))
        chosen = schema.measurement.c.run_id == begun.run_id
        connection.execute(schema.measurement.update().where(chosen).values(started_at=at))
    return begun


def night(path: Path, day: int, *, energy: bool = True, quant: str = "int8") -> Begun:
    begun = begin(path, purpose="nightly", quant=quant)
    found = finish(begun, 100.0, 101.0, 102.0)
    spent = ENERGY if energy else Energy.from_document(Unavailable(WHY))
    begun.store.finish_measurement(begun.measurement_id, replace(found, energy=spent))
    return dated(begun, day)


def absent(path: Path, day: int, reason: str) -> Begun:
    """A night that could not reach the device."""
    store = Store.open(path)
    run_id = store.begin_run({"sessions": 3, "steps": 10}, ["suite", "nightly"], {}, purpose="nightly")
    device_id = store.known_device("local", "local", False)
    store.record_artifact("abc123", WORKLOAD, {})
    key = store.begin_measurement(run_id, device_id, WORKLOAD, planned_sessions=3, artifact_hash="abc123")
    begun = Begun(store, run_id, device_id, key)
    found = replace(finish(begun), status="failed", reason=reason)
    store.finish_measurement(key, found)
    return dated(begun, day)


def left_out(begun: Begun, status: str, reason: str, day: int) -> None:
    """Adds a setting to a night that no device could make: its export failed, or the model has none of it."""
    workload = WORKLOAD | {"quant": "nf4"}
    key = begun.store.begin_measurement(begun.run_id, begun.device_id, workload, planned_sessions=3)
    found = measure(Subject("local", "local", False, workload, planned_sessions=3), [])
    begun.store.finish_measurement(key, replace(found, status=status, reason=reason))
    dated(begun, day)


def nothing_to_measure(path: Path, day: int) -> Begun:
    """A night whose only setting could not be exported, so that nobody looked for the device."""
    store = Store.open(path)
    run_id = store.begin_run({"sessions": 3, "steps": 10}, ["suite", "nightly"], {}, purpose="nightly")
    begun = Begun(store, run_id, store.known_device("local", "local", False), 0)
    left_out(begun, "failed", "the weights can't be read", day)
    return begun


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_energy_that_a_series_had_and_has_no_more_is_named_with_nights_day_and_reason(path: Path) -> None:
    for day in (1, 2):
        night(path, day).store.close()
    nights = [night(path, day, energy=False) for day in range(3, 9)]
    for begun, count in ((nights[0], "1 night"), (nights[5], "6 nights")):
        (gap,) = find_gaps(begun.store, begun.run_id)
        assert (gap.what, gap.device) == ("vanished", "local")
        assert gap.sentence == (
            "energy per step, gross and energy per step, net (2 series): "
            f"none for {count}, the last on 2026-01-02: {WHY}"
        )
    for begun in nights:
        begun.store.close()


def test_a_workload_of_the_night_before_that_was_left_out_is_named(path: Path) -> None:
    night(path, 1, quant="nf4").store.close()
    tonight = night(path, 2)
    assert [(gap.what, gap.device) for gap in find_gaps(tonight.store, tonight.run_id)] == [("left out", "local")]
    assert "nf4" in find_gaps(tonight.store, tonight.run_id)[0].sentence
    tonight.store.close()


def test_a_night_like_the_one_before_lacks_nothing(path: Path) -> None:
    night(path, 1).store.close()
    tonight = night(path, 2)
    assert find_gaps(tonight.store, tonight.run_id) == []
    tonight.store.close()


def summary_of(store: Store) -> DeviceSummary:
    (found,) = StoreSource(store).devices()
    return found


def test_a_device_that_was_not_reached_has_its_newest_reason_and_since_when(path: Path) -> None:
    night(path, 1).store.close()
    absent(path, 2, "no route to host").store.close()
    last = absent(path, 3, "connection refused")
    assert find_gaps(last.store, last.run_id) == [
        Gap("unreached", "local", "not reached since 2026-01-02: connection refused")
    ]
    found = summary_of(last.store)
    assert (found.outcomes, found.last_run) == ({"failed": 1}, last.run_id)
    assert (found.unreached, found.unreached_since[:10]) == ("connection refused", "2026-01-02")
    health = StoreSource(last.store).health("local")
    assert [point.checks for point in health[1:]] == [
        [("reached", "failed", "no route to host")], [("reached", "failed", "connection refused")],
    ]  # fmt: skip
    (check,) = StoreSource(last.store).surroundings(last.run_id).devices["local"].preflight
    assert (check.name, check.status, check.detail) == ("reached", "failed", "connection refused")
    back = night(path, 4)
    assert summary_of(back.store).unreached == ""
    for begun in (last, back):
        begun.store.close()


def test_a_night_without_a_program_for_a_device_does_not_say_that_it_was_not_reached(path: Path) -> None:
    night(path, 1).store.close()
    begun = nothing_to_measure(path, 2)
    assert [gap.what for gap in find_gaps(begun.store, begun.run_id)] == ["left out"]
    assert summary_of(begun.store).unreached == ""
    assert StoreSource(begun.store).surroundings(begun.run_id).devices == {}
    begun.store.close()


@pytest.mark.parametrize("status", ["failed", "unsupported"])
def test_a_setting_that_was_left_out_hides_nothing_of_a_device_that_was_not_reached(path: Path, status: str) -> None:
    absent(path, 1, "no route to host").store.close()
    nothing_to_measure(path, 2).store.close()
    last = absent(path, 3, "connection refused")
    left_out(last, status, "the model has no such setting", 3)
    found = summary_of(last.store)
    assert (found.unreached, found.unreached_since[:10]) == ("connection refused", "2026-01-01")
    (check,) = StoreSource(last.store).surroundings(last.run_id).devices["local"].preflight
    assert check.detail == "connection refused"
    last.store.close()


def test_a_device_that_was_never_reached_is_red_too(path: Path) -> None:
    begun = absent(path, 1, "unknown host")
    found = summary_of(begun.store)
    assert (found.outcomes, found.unreached) == ({"failed": 1}, "unknown host")
    begun.store.close()
