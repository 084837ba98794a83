import json
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from devices.processes import ProcessEnd
from reports.model.statistics import Temperature
from suite.results.measurement import Subject, measure, usable
from suite.sessions.collect import collect
from suite.sessions.loss_check import ExpectedLosses
from suite.sessions.record import IdlePower, SensorFact
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from tests.support.suite import recorded_session as recorded

WORKLOAD = {
    "model": "tiny",
    "method": "prge",
    "quant": "int8",
    "backend": "xnnpack",
    "q": 4,
    "b": 4,
    "T": 64,
    "rank": 16,
}
TOP_KEYS = {
    *("device", "kind", "emulated", "workload", "status", "reason", "setup", "latency_ms", "load_ms"),
    *(
        "peak_memory_kib",
        "memory_after_load_kib",
        "program_bytes",
        "weight_bytes",
        "energy_mj_per_step",
        "power_mw",
        "temperature_c",
    ),
    *("throttled", "loss", "stability", "ratio_to_reference", "sensors", "sampler_overhead_percent"),
    "forward_tokens",
}


def subject(**more):
    facts = {"device": "pi", "kind": "raspberrypi", "emulated": False, "workload": WORKLOAD, "planned_sessions": 3}
    return Subject(**(facts | more))


def three(*ms, **how):
    return [recorded.result(i, ms=value, **how) for i, value in enumerate(ms or (100.0, 101.0, 99.0))]


def why(value):
    assert set(value) == {"unavailable"}
    assert value["unavailable"]
    return value["unavailable"]


def test_the_document_has_exactly_the_keys_of_the_contract():
    document = measure(subject(), three()).document()
    assert set(document) == TOP_KEYS
    assert set(document["latency_ms"]) == {"median", "ci95", "ci95_method", "sessions", "cv_percent", "max", "p50"}
    assert set(document["loss"]) == {
        *("first", "last", "max_relative_error", "reference_steps", "noise", "difference", "lr", "eps")
    }
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_numbers_come_from_session_medians():
    document = measure(
        subject(program_bytes=10, weight_bytes=9, sampler_overhead_percent=0.4, forward_tokens=2048.0), three()
    ).document()
    assert (document["status"], document["reason"]) == ("ok", None)
    latency = document["latency_ms"]
    assert latency["median"] == 100.0
    assert latency["sessions"] == [100.0, 101.0, 99.0]
    log_low, log_high = scipy_stats.ttest_1samp(np.log([100.0, 101.0, 99.0]), 0.0).confidence_interval()
    assert latency["ci95"] == pytest.approx([math.exp(log_low), math.exp(log_high)])
    assert "Student's t" in latency["ci95_method"]
    assert latency["cv_percent"] == pytest.approx(1.0)
    assert latency["max"] == 101.0
    assert document["load_ms"] == {"median": 250.0}
    assert document["peak_memory_kib"] == 120_500
    assert document["memory_after_load_kib"] == 90_000
    assert (document["program_bytes"], document["weight_bytes"]) == (10, 9)
    assert document["sampler_overhead_percent"] == 0.4
    assert document["forward_tokens"] == 2048.0
    assert document["throttled"] is False


def test_what_was_not_measured_says_why():
    document = measure(subject(), three()).document()
    assert "no power sensor" in why(document["energy_mj_per_step"])
    assert "no power sensor" in why(document["power_mw"])
    assert "no thermal zone" in why(document["temperature_c"])
    assert "no reference trajectory" in why(document["loss"]["max_relative_error"])
    for key in ("program_bytes", "weight_bytes", "sampler_overhead_percent", "ratio_to_reference"):
        why(document[key])


def test_memory_the_kernel_does_not_tell_is_unavailable():
    lines = recorded.text(
        [
            recorded.header(),
            recorded.load(rss_kib=None, hwm_kib=None, swap_kib=None),
            *recorded.steps(),
            recorded.footer(hwm_kib=None, swap_kib=None),
        ]
    )
    record = collect("s", lines, ProcessEnd(rc=0))
    document = measure(subject(), [SessionResult("s", 0, 0, record, Validity(SessionStatus.OK))]).document()
    assert "VmRSS" in why(document["memory_after_load_kib"])
    assert "VmHWM" in why(document["peak_memory_kib"])


def test_two_sessions_have_a_median_and_no_interval():
    document = measure(subject(planned_sessions=2), three(100.0, 102.0)).document()
    assert document["status"] == "ok"
    assert document["latency_ms"]["median"] == 101.0
    assert "2 sessions, but an interval needs at least 3" in why(document["latency_ms"]["ci95"])


def test_one_session_has_no_stability():
    document = measure(subject(planned_sessions=1), three(100.0)).document()
    assert document["latency_ms"]["median"] == 100.0
    why(document["stability"])
    why(document["latency_ms"]["cv_percent"])


def test_session_medians_that_vary_too_much_are_unstable():
    document = measure(subject(), three(100.0, 110.0, 104.0)).document()
    assert document["status"] == "unstable"
    assert "vary by 4.8 %, 3 % is the limit" in document["reason"]
    assert measure(subject(kind="android"), three(100.0, 110.0, 104.0)).status == "ok"


def test_fewer_valid_sessions_than_planned_are_partial_with_the_reason():
    sessions = [*three(100.0, 101.0), recorded.result(2, status="lost")]
    document = measure(subject(), sessions).document()
    assert document["status"] == "partial"
    assert document["reason"] == "2 of 3 sessions are valid: it is lost"
    assert document["latency_ms"]["sessions"] == [100.0, 101.0]


def test_no_invalid_number_gets_in():
    sessions = [*three(), recorded.result(3, ms=1.0, status="invalid"), recorded.result(4, ms=9e3, status="throttled")]
    document = measure(subject(), sessions).document()
    assert document["latency_ms"]["sessions"] == [100.0, 101.0, 99.0]
    assert document["latency_ms"]["max"] == 101.0
    assert document["throttled"] is True


def test_a_session_that_was_redone_counts_once():
    sessions = [
        recorded.result(0, attempt=0, ms=500.0, status="throttled"),
        recorded.result(0, attempt=1, ms=100.0),
        *three()[1:],
    ]
    assert [item.session_id for item in usable(sessions)] == ["s0.a1", "s1.a0", "s2.a0"]
    assert measure(subject(), sessions).status == "ok"


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["unsupported"], "unsupported"),
        (["failed", "unsupported"], "unsupported"),
        (["failed", "failed"], "failed"),
        (["lost", "invalid"], "failed"),
        (["interrupted"], "failed"),
        (["invalid", "invalid"], "invalid"),
        (["throttled", "throttled", "throttled"], "invalid"),
        ([], "failed"),
    ],
)
def test_without_a_valid_session_the_status_says_what_happened(statuses, status):
    document = measure(subject(), [recorded.result(i, status=each) for i, each in enumerate(statuses)]).document()
    assert set(document) == TOP_KEYS
    assert document["status"] == status
    assert document["reason"]
    assert why(document["latency_ms"]) == document["reason"]
    assert why(document["peak_memory_kib"]) == document["reason"]


def test_energy_is_the_median_over_sessions_with_its_method():
    sessions = []
    for ordinal, watts in enumerate((5.0, 5.2, 4.8)):
        lines = recorded.samples("VDD_IN", watts * 1000, seconds=25)
        made = recorded.result(ordinal, *lines, quantities={"VDD_IN": "power_mw"}, ms=500.0, measured_steps=40)
        sessions.append(type(made)(**(vars(made) | {"idle": IdlePower(1000.0, 1000.0)})))
    fact = SensorFact("VDD_IN", "power_mw", method="INA3221")
    document = measure(subject(sensors=(fact,), energy_sensors=("VDD_IN",)), sessions).document()
    energy = document["energy_mj_per_step"]
    assert set(energy) == {
        *("gross", "net", "method", "rate_hz", "alignment_error_ms", "short", "sessions_gross", "sessions_net")
    }
    assert [energy[f"sessions_{kind}"] for kind in ("gross", "net")] == [
        pytest.approx([2500.0, 2600.0, 2400.0]), pytest.approx([2000.0, 2100.0, 1900.0]),
    ]  # fmt: skip
    assert energy["gross"] == pytest.approx(2500.0)
    assert energy["net"] == pytest.approx(2000.0)
    assert energy["rate_hz"] == pytest.approx(10.0)
    assert energy["short"] is False
    assert (
        energy["method"]
        == "trapezoid of VDD_IN, edges interpolated, windows of 20 s and more, median of 3 of 3 sessions"
    )
    assert document["power_mw"] == {"mean": pytest.approx(5000.0), "idle": 1000.0}
    assert document["sensors"] == [{"name": "VDD_IN", "quantity": "power_mw", "method": "INA3221"}]


def test_energy_that_cannot_be_read_gives_the_reason_of_its_sensor():
    facts = (SensorFact("rapl", "energy_mj", unavailable="only root may read it"),)
    document = measure(subject(sensors=facts), three()).document()
    assert why(document["energy_mj_per_step"]) == "rapl: only root may read it"
    assert document["sensors"] == [{"name": "rapl", "quantity": "energy_mj", "unavailable": "only root may read it"}]


def test_a_sensor_that_gave_nothing_is_listed_with_its_error():
    broken = {"event": "sensor_error", "sensor": "zone", "errors": 2, "reason": "gone"}
    document = measure(
        subject(sensors=(SensorFact("zone", "temperature_mc"),)), [recorded.result(0, broken)]
    ).document()
    assert document["sensors"] == [{"name": "zone", "quantity": "temperature_mc", "unavailable": "gone (2 times)"}]


def test_temperature_is_that_of_the_hottest_relevant_zone():
    lines = [
        *recorded.samples("cpu", lambda t: 40_000 + 1000 * t, seconds=2),
        *recorded.samples("gpu", 41_500, seconds=2),
        *recorded.samples("modem", 90_000, seconds=2),
    ]
    quantities = dict.fromkeys(("cpu", "gpu", "modem"), "temperature_mc")
    sessions = [recorded.result(i, *lines, quantities=quantities) for i in range(3)]
    chosen = measure(subject(temperature_sensors=("cpu", "gpu")), sessions)
    assert chosen.temperature == Temperature(41.5, 42.0)
    assert measure(subject(), sessions).temperature == Temperature(90.0, 90.0)


def test_losses_are_first_and_last_and_their_error_against_the_reference():
    losses = [(2.0 - 0.1 * i, 2.0) for i in range(7)]
    document = measure(
        subject(expected=ExpectedLosses(((2.0, 2.0), (1.9, 2.002)), noise=0.01, lr=1e-3, eps=3e-2)),
        three(losses=losses),
    ).document()
    assert document["loss"] == {
        "first": 2.0,
        "last": pytest.approx(1.7),
        "max_relative_error": pytest.approx(0.002 / 2.002),
        "reference_steps": 2,
        "noise": 0.01,
        "difference": pytest.approx(0.102 / 2**0.5),
        "lr": 1e-3,
        "eps": 3e-2,
    }


def test_losses_that_were_not_compared_say_why():
    document = measure(subject(expected=ExpectedLosses(shortfall="it takes an hour")), three()).document()
    assert document["loss"]["max_relative_error"] == {"unavailable": "it takes an hour"}
    for name in ("reference_steps", "noise", "difference"):
        assert document["loss"][name] == {"unavailable": "it takes an hour"}


def test_the_arithmetic_is_named_where_it_matters():
    assert measure(subject(arithmetic="fp16 accumulate"), three()).document()["arithmetic"] == "fp16 accumulate"


def test_numbers_a_device_made_up_never_break_the_document():
    lines = recorded.samples("p", lambda t: 1.7e308, seconds=25)
    sessions = three(losses=[(1.7e308, 1.7e308)] * 7)
    sessions += [recorded.result(3, *lines, quantities={"p": "power_mw"}, ms=500.0, measured_steps=40)]
    document = measure(subject(energy_sensors=("p",)), sessions).document()
    json.dumps(document, allow_nan=False)
    assert "inf" in why(document["loss"]["first"])
