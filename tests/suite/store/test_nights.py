"""What judging a night is told of its series."""

from __future__ import annotations

import pytest

from suite.store.nights import provenance_of, series_of_night
from suite.store.store import VerdictRow
from tests.support.suite.stored_run import HARDWARE, begin, finish


@pytest.fixture
def nights(tmp_path):
    made = [begin(tmp_path / "store.sqlite", purpose="nightly") for _ in range(3)]
    for begun, ms in zip(made, (100.0, 110.0, 120.0), strict=True):
        finish(begun, ms, ms)
    yield made
    for begun in made:
        begun.store.close()


def latency(begun):
    return next(item for item in series_of_night(begun.store, begun.run_id) if item.metric == "latency_ms")


def test_a_night_is_judged_by_what_was_measured_before_it(nights):
    found = [latency(begun) for begun in nights]
    assert [one.tonight.value for one in found] == [100.0, 110.0, 120.0]
    assert [[point.value for point in one.before] for one in found] == [[], [100.0], [100.0, 110.0]]


def measured_in_passing(path, ms, sessions=2, **how):
    other = begin(path, **how)
    finish(other, *[ms] * sessions)
    return other


@pytest.mark.parametrize(
    "how",
    [{"purpose": "run"}, {"purpose": "nightly", "steps": 3}, {"purpose": "nightly", "sessions": 1}],
    ids=["a run", "another design", "one session"],
)
def test_what_is_not_a_night_of_the_same_design_is_no_history(nights, tmp_path, how):
    path = tmp_path / "store.sqlite"
    other = measured_in_passing(path, 500.0, **how)
    last = measured_in_passing(path, 130.0, purpose="nightly")
    assert [point.value for point in latency(last).before] == [100.0, 110.0, 120.0]
    other.store.accept(latency(last).tonight.series_id, other.measurement_id, "lena", "new level")
    assert latency(last).tonight.accepted  # so that nothing before it is compared with
    for begun in (other, last):
        begun.store.close()


def test_a_night_of_another_design_has_a_history_of_its_own(nights, tmp_path):
    path = tmp_path / "store.sqlite"
    deep = [measured_in_passing(path, ms, purpose="nightly", steps=100) for ms in (50.0, 51.0)]
    assert [point.value for point in latency(deep[1]).before] == [50.0]
    for begun in deep:
        begun.store.close()


def test_points_of_other_firmware_come_along_with_their_fingerprint(nights, tmp_path):
    other = begin(tmp_path / "store.sqlite", os_build="Debian 13", purpose="nightly")
    finish(other, 130.0, 130.0)
    found = latency(other)
    marks = [point.fingerprint for point in (*found.before, found.tonight)]
    assert len(set(marks[:3])) == 1 and marks[3] != marks[0]
    other.store.close()


def test_each_point_has_its_last_verdict_with_its_numbers_and_whether_it_was_accepted(nights):
    (first, second, third) = nights
    point = latency(first).tonight
    for word, level in (("inconclusive", 1.0), ("unchanged", 2.0)):
        first.store.add_verdicts(
            [VerdictRow(point.series_id, point.measurement_id, word, "r", {}, {"device_level": level})]
        )
    second.store.accept(point.series_id, second.measurement_id, "lena", "known")
    before = latency(third).before
    assert [(one.verdict, one.numbers, one.accepted) for one in before] == [
        ("unchanged", {"device_level": 2.0}, False), (None, {}, True),
    ]  # fmt: skip


def test_a_device_that_the_night_did_not_measure_has_no_series_in_it(nights, tmp_path):
    other = begin(tmp_path / "store.sqlite", device="pi", hardware=HARDWARE)
    finish(other, 5.0, device="pi")
    assert {item.device for item in series_of_night(other.store, other.run_id)} == {"pi"}
    assert {item.device for item in series_of_night(other.store, nights[0].run_id)} == {"local"}
    other.store.close()


def test_how_a_point_was_measured_comes_with_the_last_state_of_its_device(nights):
    (first, *_) = nights
    first.store.record_device_state(first.run_id, first.device_id, "Debian 12", {"governor": "powersave"})
    found = provenance_of(first.store, [first.measurement_id])[first.measurement_id]
    assert (found.artifact_hash, found.runner_hash, found.facts) == ("abc123", None, {"governor": "powersave"})
    assert found.measurement.latency.median_ms == 100.0
    assert provenance_of(first.store, [999]) == {}
