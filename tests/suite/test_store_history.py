import pytest
from stored_run import KEY, begin, finish

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
