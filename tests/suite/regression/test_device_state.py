import dataclasses

import pytest

from suite.regression.segments import DeviceState, list_differences, state_differences

STATE = DeviceState(40.0, "performance", throttled=False, battery_percent=80.0, charging=True, firmware="1.2")


def changed(**fields):
    return state_differences(STATE, dataclasses.replace(STATE, **fields))


def test_equal_states_do_not_differ():
    assert state_differences(STATE, STATE) == ()


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("governor", {"governor": "powersave"}),
        ("firmware", {"firmware": "1.3"}),
        ("charging", {"charging": False}),
        ("temperature", {"temperature_c": 45.1}),
        ("battery", {"battery_percent": 59.0}),
        ("throttling", {"throttled": True}),
    ],
)
def test_what_may_change_the_speed_is_a_difference(what, fields):
    (found,) = changed(**fields)
    assert found.what == what
    assert found.then in str(found) and found.now in str(found)


@pytest.mark.parametrize("fields", [{"temperature_c": 45.0}, {"temperature_c": 35.0}, {"battery_percent": 60.0}])
def test_small_changes_are_no_differences(fields):
    assert changed(**fields) == ()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DeviceState)])
def test_what_could_not_be_read_is_no_difference(name):
    assert changed(**{name: None}) == ()


def test_throttling_both_times_is_a_difference_from_a_state_to_trust():
    hot = dataclasses.replace(STATE, throttled=True)
    assert [found.what for found in state_differences(hot, hot)] == ["throttling"]


def test_differences_are_listed_in_a_sentence():
    found = changed(governor="powersave", temperature_c=60.0)
    assert (
        list_differences(found)
        == "governor was performance and is powersave; temperature was 40.0 degC and is 60.0 degC"
    )
