import pytest
from stored_run import KEY, begin, finish

from suite.store import schema
from suite.store.history import history, series_list
from suite.store.metrics import METRICS, metric_value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


def test_points_of_one_series_come_oldest_first_in_one_segment(path):
    for ms in (100.0, 110.0, 105.0):
        made = begin(path)
        finish(made, ms, ms + 1, ms - 1)
    points = history(made.store, "local", KEY, "latency_ms")
    assert [point.value for point in points] == [100.0, 110.0, 105.0]
    assert {point.segment for point in points} == {0}
    assert len({point.series_id for point in points}) == 1
    assert points[-1].run_id == made.run_id
    assert points[-1].status == "ok"


@pytest.mark.parametrize("change", [{"os_build": "Debian 13"}, {"hardware": {"cpu": "new", "cores": 2}}])
def test_a_changed_fingerprint_starts_a_new_segment(path, change):
    finish(begin(path), 100.0)
    finish(begin(path, **change), 200.0)
    made = begin(path)
    finish(made, 101.0)
    points = history(made.store, "local", KEY, "latency_ms")
    assert [(point.value, point.segment) for point in points] == [(100.0, 0), (200.0, 1), (101.0, 0)]
    assert len({point.series_id for point in points}) == 2


def test_the_last_state_of_a_device_in_a_run_names_its_series(path):
    finish(begin(path, os_build="Debian 13"), 100.0)
    made = begin(path)
    made.store.record_device_state(made.run_id, made.device_id, "Debian 13", {})
    finish(made, 101.0)
    points = history(made.store, "local", KEY, "latency_ms")
    assert [point.segment for point in points] == [0, 0]


def test_an_emulated_device_has_a_series_of_its_own(path):
    finish(begin(path), 100.0)
    made = begin(path)
    with made.store.database.writing() as connection:
        connection.execute(schema.device.update().values(emulated=1))
    finish(made, 101.0)
    assert [point.segment for point in history(made.store, "local", KEY, "latency_ms")] == [0, 1]


def test_points_are_in_the_order_of_their_time_whatever_order_they_were_stored_in(path):
    finish(begin(path), 100.0)
    made = begin(path)
    finish(made, 90.0)
    with made.store.database.writing() as connection:
        early = schema.measurement.c.id == made.measurement_id
        connection.execute(schema.measurement.update().where(early).values(started_at="2020-01-01T00:00:00+00:00"))
    assert [point.value for point in history(made.store, "local", KEY, "latency_ms")] == [90.0, 100.0]


def test_a_series_counts_its_segments_and_its_points(path):
    for os_build in ("Debian 12", "Debian 12", "Debian 13"):
        made = begin(path, os_build=os_build)
        finish(made, 100.0)
    found = {(one.metric, one.segments, one.points) for one in series_list(made.store)}
    assert ("latency_ms", 2, 3) in found


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
    document = finish(made, 100.0)
    made.store.finish_measurement(made.measurement_id, document | {"status": status, "reason": "so it is"})
    assert bool(series_list(made.store)) is has_points


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
    document = finish(made, 100.0)
    made.store.finish_measurement(made.measurement_id, document | {"peak_memory_kib": {"unavailable": "no"}})
    assert len(history(made.store, "local", KEY, "latency_ms")) == 1
    assert history(made.store, "local", KEY, "peak_memory_kib") == []


def test_devices_have_series_of_their_own(path):
    finish(begin(path), 100.0)
    made = begin(path, device="pi")
    finish(made, 300.0, device="pi")
    assert [point.value for point in history(made.store, "pi", KEY, "latency_ms")] == [300.0]
    assert history(made.store, "nonesuch", KEY, "latency_ms") == []


def test_metric_values_are_numbers_or_nothing():
    latency = METRICS[0]
    assert metric_value({"latency_ms": {"median": 3}}, latency) == 3.0
    assert metric_value({"latency_ms": {"unavailable": "x"}}, latency) is None
    assert metric_value({"latency_ms": {"median": True}}, latency) is None
    assert metric_value({}, latency) is None


def test_metric_names_hold_their_unit():
    assert all(metric.name.split("_")[-1] in ("ms", "kib", "bytes", "step", "mw") for metric in METRICS)
