from dataclasses import replace

import pytest

from foundation.unavailable import Unavailable
from reports.model.histories import MetricHistory
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.series import accept_points, newest_point, series_list, series_names
from suite.store.store import Store
from tests.support.suite.stored_run import KEY, begin, finish


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


def latency(store: Store, device: str = "local") -> MetricHistory:
    return next(one for one in StoreSource(store).history(device, KEY) if one.metric == "latency_ms")


def values_by_segment(store: Store) -> list[list[float]]:
    history = latency(store)
    return [[point.value for point in history.points[part.start : part.stop]] for part in history.segments]


def listed(store: Store) -> tuple[int, int]:
    """Segments and points of the series in the list."""
    (found,) = (one for one in series_list(store) if one.metric == "latency_ms")
    return found.segments, found.points


def test_points_of_one_series_come_oldest_first_in_one_segment(path):
    for ms in (100.0, 110.0, 105.0):
        made = begin(path)
        finish(made, ms, ms + 1, ms - 1)
    assert values_by_segment(made.store) == [[100.0, 110.0, 105.0]] and listed(made.store) == (1, 3)
    newest = latency(made.store).points[-1]
    assert (newest.run_id, newest.status) == (made.run_id, "ok")


@pytest.mark.parametrize("change", [{"os_build": "Debian 13"}, {"hardware": {"cpu": "new", "cores": 2}}])
def test_a_changed_fingerprint_opens_a_segment_and_so_does_the_old_one_when_it_comes_back(path, change):
    finish(begin(path), 100.0)
    finish(begin(path, **change), 200.0)
    made = begin(path)
    finish(made, 101.0)
    assert values_by_segment(made.store) == [[100.0], [200.0], [101.0]] and listed(made.store) == (3, 3)


def test_the_last_state_of_a_device_in_a_run_names_its_series(path):
    finish(begin(path, os_build="Debian 13"), 100.0)
    made = begin(path)
    made.store.record_device_state(made.run_id, made.device_id, "Debian 13", {})
    finish(made, 101.0)
    assert values_by_segment(made.store) == [[100.0, 101.0]] and listed(made.store) == (1, 2)


def test_an_emulated_device_has_a_series_of_its_own(path):
    finish(begin(path), 100.0)
    made = begin(path)
    with made.store.database.writing() as connection:
        connection.execute(schema.device.update().values(emulated=1))
    finish(made, 101.0)
    assert values_by_segment(made.store) == [[100.0], [101.0]]
    assert [(one.emulated, one.points) for one in series_list(made.store) if one.metric == "latency_ms"] == [
        (False, 1),
        (True, 1),
    ]


def test_points_are_in_the_order_of_their_time_whatever_order_they_were_stored_in(path):
    finish(begin(path), 100.0)
    made = begin(path)
    finish(made, 90.0)
    with made.store.database.writing() as connection:
        early = schema.measurement.c.id == made.measurement_id
        connection.execute(schema.measurement.update().where(early).values(started_at="2020-01-01T00:00:00+00:00"))
    assert values_by_segment(made.store) == [[90.0, 100.0]]


def test_an_accepted_level_opens_a_segment(path):
    for ms in (100.0, 100.0, 130.0):
        made = begin(path)
        finish(made, ms)
    (series,) = (one for one in series_list(made.store) if one.metric == "latency_ms")
    accept_points(made.store, [newest_point(made.store, series)], "lena", "larger batches")
    assert values_by_segment(made.store) == [[100.0, 100.0], [130.0]] and listed(made.store) == (2, 3)


def test_what_was_measured_in_passing_opens_no_segment_among_nights(path):
    """A run on other firmware, and a night of one session; an acceptance of the run holds from the next night on."""
    for ms in (100.0, 101.0):
        finish(begin(path, purpose="nightly"), ms, ms)
    passing = begin(path, os_build="Debian 13")
    finish(passing, 500.0, 500.0)
    finish(begin(path, purpose="nightly", os_build="Debian 13"), 501.0)
    made = begin(path, purpose="nightly")
    finish(made, 102.0, 102.0)
    assert [len(part) for part in values_by_segment(made.store)] == [5] and listed(made.store) == (1, 5)
    (series,) = (one for one in series_list(made.store) if one.metric == "latency_ms")
    accept_points(made.store, [newest_point(made.store, series, passing.run_id)], "lena", "new level")
    assert [len(part) for part in values_by_segment(made.store)] == [4, 1] and listed(made.store) == (2, 5)


def test_nights_of_another_design_open_a_segment(path):
    for steps in (10, 10, 100, 10):
        made = begin(path, purpose="nightly", steps=steps)
        finish(made, 100.0, 100.0)
    assert [len(part) for part in values_by_segment(made.store)] == [2, 1, 1] and listed(made.store) == (3, 4)


def test_runs_of_another_design_are_one_segment_where_there_are_no_nights(path):
    for steps in (10, 100):
        made = begin(path, steps=steps)
        finish(made, 100.0)
    assert [len(part) for part in values_by_segment(made.store)] == [2] and listed(made.store) == (1, 2)


@pytest.mark.parametrize(
    ("status", "has_points"),
    [
        ("ok", True),
        ("unstable", True),
        ("partial", True),
        ("invalid", False),
        ("failed", False),
        ("unsupported", False),
    ],
)
def test_what_was_measured_in_part_has_points_and_what_is_not_valid_has_none(path, status, has_points):
    made = begin(path)
    found = finish(made, 100.0)
    made.store.finish_measurement(made.measurement_id, replace(found, status=status, reason="so it is"))
    assert bool(series_list(made.store)) is bool(series_names(made.store)) is has_points


def test_every_metric_with_a_number_has_a_series_and_no_other(path):
    made = begin(path)
    finish(made, 100.0)
    names = {series.metric for series in series_list(made.store)}
    assert names == {"latency_ms", "load_ms", "peak_memory_kib", "memory_after_load_kib", "program_bytes"}
    assert all(series.direction == "lower" and series.points == 1 for series in series_list(made.store))


def test_a_measurement_that_is_not_valid_leaves_no_point(path):
    made = begin(path)
    finish(made, 100.0, status="invalid")
    assert series_list(made.store) == []


def test_finishing_a_measurement_again_replaces_its_points(path):
    made = begin(path)
    first = finish(made, 100.0)
    made.store.finish_measurement(made.measurement_id, replace(first, peak_memory_kib=Unavailable("no")))
    found = {one.metric: one.points for one in series_list(made.store)}
    assert found["latency_ms"] == 1 and "peak_memory_kib" not in found


def test_devices_have_series_of_their_own(path):
    finish(begin(path), 100.0)
    made = begin(path, device="pi")
    finish(made, 300.0, device="pi")
    assert [point.value for point in latency(made.store, "pi").points] == [300.0]
    names = [series.name for series in series_names(made.store)]
    assert names == [series.name for series in series_list(made.store)] and len(names) == len(set(names)) == 10
    assert StoreSource(made.store).history("nonesuch", KEY) == []


def test_metric_values_are_numbers_or_nothing():
    latency = METRICS[0]
    assert latency.value(Measurement.from_document({"latency_ms": {"median": 3}})) == 3.0
    assert latency.value(Measurement.from_document({"latency_ms": {"unavailable": "x"}})) is None
    assert latency.value(Measurement.from_document({"latency_ms": {"median": True}})) is None
    assert latency.value(Measurement.from_document({})) is None


def test_metric_names_hold_their_unit():
    assert all(metric.name.split("_")[-1] in ("ms", "kib", "bytes", "step", "mw") for metric in METRICS)
