"""What of a series' stored points tonight's is screened against, and when drift is looked for."""

from __future__ import annotations

import pytest

from reports.model.measurement import Measurement
from suite.nightly.evidence import device_state
from suite.regression.screen import Clear, Insufficient, Suspect
from suite.regression.segments import DeviceState
from suite.store.nights import Provenance
from tests.support.suite.nights_made import DRIFTING, LEVELS, history, point, tonight_of


def numbers_of(found):
    return found.screening.numbers


def test_a_night_unlike_its_history_is_a_suspect():
    found = tonight_of(history(), 110.0)
    assert isinstance(found.screening, Suspect) and found.is_suspect and found.is_unlike


def test_regressed_nights_are_no_history_unless_they_were_accepted():
    slow = [point(50 + i, 110.0, verdict="regressed") for i in range(12)]
    found = tonight_of([*history(), *slow], 110.0)
    assert found.is_unlike and numbers_of(found).centre == pytest.approx(100.0, rel=0.005)
    accepted = [point(50, 110.0, verdict="regressed", accepted=True), *(point(51 + i, 110.0) for i in range(9))]
    found = tonight_of([*history(), *accepted], 110.0)
    assert isinstance(found.screening, Clear) and numbers_of(found).centre == 110.0


@pytest.mark.parametrize("changed", [{"fingerprint": "new firmware"}, {"accepted": True}])
def test_the_first_night_of_a_segment_has_no_history(changed):
    found = tonight_of(history(), 110.0, **changed)
    assert isinstance(found.screening, Insufficient) and found.screening.points == 0
    assert not found.is_suspect


def test_a_device_that_was_blamed_twice_is_screened_at_its_new_level():
    blamed = [point(50 + i, 110.0, numbers={"device_level": 110.0}) for i in range(2)]
    found = tonight_of([*history(), *blamed], 110.0)
    assert isinstance(found.screening, Clear) and numbers_of(found).centre == pytest.approx(110.0, rel=0.005)


def test_a_metric_is_screened_with_its_own_floor():
    assert tonight_of(history(), 106.0, "latency_ms").is_unlike
    assert not tonight_of(history(), 106.0, "load_ms").is_unlike
    assert tonight_of(history(), 112.0, "load_ms").is_unlike


def test_a_series_that_drifts_is_a_suspect_though_like_its_history():
    found = tonight_of(history(DRIFTING[:-1]), DRIFTING[-1])
    assert found.is_suspect and not found.is_unlike
    assert found.drift is not None and found.drift.points == 60  # tonight's is one of them


def test_drift_below_a_metrics_own_floor_is_none():
    assert tonight_of(history(DRIFTING[:-1]), DRIFTING[-1], "power_mw").drift.found
    load = tonight_of(history(DRIFTING[:-1]), DRIFTING[-1], "load_ms").drift
    assert (load.found, load.floor) == (False, pytest.approx(0.10))


@pytest.mark.parametrize(("nights_ago", "looked_for"), [(1, False), (13, False), (14, True)])
def test_drift_is_looked_for_again_fourteen_nights_after_pairs_were_measured(nights_ago, looked_for):
    before = history(DRIFTING[:-1])
    before[-nights_ago] = point(59, before[-nights_ago].value, numbers={"first_look_pairs": 3})
    assert (tonight_of(before, DRIFTING[-1]).drift is not None) is looked_for


def test_drift_that_was_traced_to_the_device_is_looked_for_from_there_on():
    before = history([*DRIFTING[:-1], *[DRIFTING[-1]] * 20])
    before[40] = point(41, before[40].value, numbers={"drift_traced": 1.0})
    found = tonight_of(before, DRIFTING[-1])
    assert found.drift is not None and found.drift.points == len(before) - 40 + 1


def provenance_of(document, facts):
    return Provenance(1, "program", "runner", Measurement.from_document(document), facts)


def test_the_state_of_a_device_is_the_temperature_it_began_with_its_governors_and_throttling():
    facts = {"policies": [{"governor": "schedutil"}, {"governor": "performance"}, {"governor": "schedutil"}]}
    found = device_state(provenance_of({"temperature_c": {"start": 41, "max": 77.5}, "throttled": False}, facts))
    assert found == DeviceState(temperature_c=41.0, governor="performance/schedutil", throttled=False)


def test_the_charge_of_its_battery_is_part_of_a_devices_state():
    assert device_state(provenance_of({}, {"battery_percent": 81})) == DeviceState(battery_percent=81.0)
    assert device_state(provenance_of({}, {"battery_percent": None})) == DeviceState()


@pytest.mark.parametrize(("plugged", "charging"), [(True, True), (False, False), (None, None), ("yes", None)])
def test_a_plugged_charger_is_part_of_a_devices_state(plugged, charging):
    assert device_state(provenance_of({}, {"charger_plugged": plugged})) == DeviceState(charging=charging)


def test_what_is_not_known_of_a_device_is_no_state():
    unknown = {"temperature_c": {"unavailable": "no zone"}}
    assert device_state(provenance_of(unknown, {"policies": {"unavailable": "no cpufreq"}})) == DeviceState()
    assert device_state(provenance_of({"throttled": True}, {})) == DeviceState(throttled=True)


def test_too_few_points_are_insufficient():
    found = tonight_of(history(LEVELS[:9]), 150.0)
    assert isinstance(found.screening, Insufficient) and found.screening.points == 9
