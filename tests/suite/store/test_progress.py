"""What a run that is taken up finds, and which of what was measured becomes points."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suite.report_data.source import StoreSource
from suite.results.measurement import Subject, measure
from suite.store import schema
from suite.store.series import series_list
from tests.support.suite.stored_run import HARDWARE, KEY, WORKLOAD, begin, finish, session


@pytest.fixture
def begun(tmp_path):
    made = begin(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def rows(begun, table):
    with begun.store.database.reading() as connection:
        return connection.execute(table.select()).all()


def latencies(begun):
    (found,) = (one for one in StoreSource(begun.store).history("local", KEY) if one.metric == "latency_ms")
    return [point.value for point in found.points]


@pytest.mark.parametrize("role", ["candidate", "baseline"])
def test_the_sides_of_a_confirmation_are_no_points_of_any_series(begun, role):
    found = finish(begun, 100.0)
    key = begun.store.begin_measurement(begun.run_id, begun.device_id, WORKLOAD, planned_sessions=1, role=role)
    begun.store.finish_measurement(key, replace(found, peak_memory_kib=5))
    assert latencies(begun) == [100.0]
    assert {one.points for one in series_list(begun.store)} == {1}


@pytest.mark.parametrize(
    ("status", "done"),
    [("ok", True), ("unsupported", True), ("throttled", False), ("failed", False), ("invalid", False), ("lost", False)],
)
def test_a_session_is_done_when_measuring_it_again_would_give_the_same(begun, status, done):
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0, status=status))
    found = begun.store.progress(begun.run_id)
    assert bool(found.done) is done
    assert found.attempts == {("local", KEY, "measured", 0): 1}


def test_attempts_are_counted_to_the_last_one_in_whatever_order_they_were_stored(begun):
    for attempt in (2, 0, 1):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, 0, attempt, status="throttled"))
    assert begun.store.progress(begun.run_id).attempts == {("local", KEY, "measured", 0): 3}


def test_a_run_that_goes_on_has_no_end_yet(begun):
    begun.store.finish_run(begun.run_id, "interrupted")
    begun.store.resume_run(begun.run_id)
    (run,) = rows(begun, schema.run)
    assert (run.status, run.finished_at) == ("running", None)


def test_a_device_that_was_never_reached_gets_its_hardware_and_one_that_was_keeps_its_own(begun):
    never = begun.store.known_device("pi", "raspberrypi", False)
    assert begun.store.record_device("pi", "raspberrypi", False, HARDWARE) == never
    other = begun.store.record_device("pi", "raspberrypi", False, {"cpu": "Another"})
    assert other != never
    assert [row.hardware for row in rows(begun, schema.device) if row.name == "pi"] == [
        '{"cores":2,"cpu":"Some CPU"}', '{"cpu":"Another"}',
    ]  # fmt: skip
    assert begun.store.known_device("pi", "raspberrypi", False) == other  # as it was seen last


def test_points_of_an_earlier_document_are_gone_when_it_is_replaced_by_one_without(begun):
    found = finish(begun, 100.0)
    begun.store.finish_measurement(begun.measurement_id, replace(found, status="invalid", reason="no"))
    assert rows(begun, schema.point) == []


def test_a_measurement_of_several_sessions_has_one_point_a_metric(begun):
    for ordinal, ms in enumerate((100.0, 104.0, 102.0)):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal, ms=ms))
    subject = Subject("local", "local", False, WORKLOAD, planned_sessions=3)
    begun.store.finish_measurement(
        begun.measurement_id, measure(subject, begun.store.sessions_of(begun.measurement_id))
    )
    assert latencies(begun) == [102.0]
