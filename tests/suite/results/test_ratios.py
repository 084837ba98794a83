import pytest

from suite.results.measurement import Subject, measure, with_ratios
from tests.support.suite import recorded_session as recorded


def measurement(quant, *ms, device="pi", status="ok", T=64):
    workload = {"model": "tiny", "method": "prge", "quant": quant, "backend": "xnnpack", "T": T}
    subject = Subject(device, "linux", False, workload, planned_sessions=len(ms))
    return measure(subject, [recorded.result(i, ms=value, status=status) for i, value in enumerate(ms)])


def ratios(*measurements):
    return [item.document()["ratio_to_reference"] for item in with_ratios(measurements)]


def test_each_setting_is_compared_with_fp32():
    slow, fast = ratios(measurement("int8", 50.0, 51.0, 49.0), measurement("fp32", 100.0, 101.0, 99.0))
    assert slow["setting"] == fast["setting"] == "fp32"
    assert slow["latency"]["ratio"] == 0.5
    low, high = slow["latency"]["ci95"]
    assert 0.47 < low < 0.5 < high < 0.53
    assert fast == {"setting": "fp32", "latency": {"ratio": 1.0, "ci95": [1.0, 1.0]}}


def test_without_a_valid_fp32_the_next_setting_is_the_reference():
    made = ratios(measurement("fp32", 9.0, status="failed"), measurement("nf4", 60.0), measurement("int8", 30.0))
    assert made[0] == {"unavailable": "this setting has no valid sessions"}
    assert made[1]["setting"] == "int8"
    assert made[1]["latency"]["ratio"] == 2.0


def test_too_few_sessions_have_a_ratio_without_an_interval():
    made = ratios(measurement("fp32", 100.0), measurement("nf4", 60.0))
    assert made[1]["latency"]["ratio"] == pytest.approx(0.6)
    assert "1 sessions" in made[1]["latency"]["ci95"]["unavailable"]


def test_devices_and_shapes_are_never_mixed():
    made = ratios(
        measurement("fp32", 100.0), measurement("int8", 50.0, device="phone"), measurement("int8", 10.0, T=16)
    )
    assert [item["setting"] for item in made] == ["fp32", "int8", "int8"]


def test_nothing_valid_has_no_reference():
    assert "no setting" in ratios(measurement("int8", 5.0, status="lost"))[0]["unavailable"]


def test_the_documents_given_are_not_changed():
    given = measurement("fp32", 100.0)
    with_ratios([given])
    assert "unavailable" in given.document()["ratio_to_reference"]
