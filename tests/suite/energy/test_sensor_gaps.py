"""A sensor that fails for a part of a session is lost for that session, with its reason, and nothing else is."""

import pytest

from foundation.unavailable import Unavailable
from suite.energy.session_energy import SessionEnergy, gap, session_energy
from suite.results.measurement import Subject, measure
from suite.sessions.record import SensorFact
from tests.support.suite import recorded_session as recorded

NO_IDLE = Unavailable("nobody looked")
GAUGE = {"VDD_IN": "power_mw"}
# 40 measured steps of half a second: from 1 s after the load to 21 s after it.
SHAPE = {"ms": 500.0, "measured_steps": 40}


def failed(sensor="VDD_IN", reason="in1_input: No such device.", errors=7):
    return {"event": "sensor_error", "sensor": sensor, "errors": errors, "reason": reason}


def read_but_between(begin_s, end_s, value=5000.0, sensor="VDD_IN", hz=10.0):
    """Samples of the whole session but for a time in which the sensor could not be read."""
    lines = recorded.samples(sensor, value, seconds=25.0, hz=hz)
    begin_ns, end_ns = (recorded.LOAD_END_NS + int(second * 1e9) for second in (begin_s, end_s))
    return [line for line in lines if not begin_ns < line["t_ns"] < end_ns]


def record(*lines, quantities=None):
    return recorded.record(*lines, quantities=quantities or GAUGE, **SHAPE)


@pytest.mark.parametrize(("begin_s", "end_s"), [(-1.0, 6.0), (8.0, 9.5), (15.0, 30.0)], ids=["begin", "middle", "end"])
def test_energy_of_a_sensor_that_failed_for_a_while_is_unavailable_with_its_reason(begin_s, end_s):
    lines = read_but_between(begin_s, end_s)
    found = session_energy(record(*lines, failed()), ["VDD_IN"], {}, NO_IDLE)
    assert isinstance(found, Unavailable)
    assert found.reason.startswith("VDD_IN: in1_input: No such device. (7 times); it gave no reading for ")
    assert "of the 20.0 s" in found.reason


def test_the_same_gap_of_a_sensor_that_never_came_back_is_reported_in_seconds():
    made = record(*read_but_between(15.0, 30.0), failed())
    assert gap(made, "VDD_IN") == "in1_input: No such device. (7 times); it gave no reading for 6.0 s of the 20.0 s"


def test_one_reading_that_failed_costs_nothing():
    made = record(*read_but_between(8.0, 8.1), failed(errors=1))
    assert gap(made, "VDD_IN") is None
    found = session_energy(made, ["VDD_IN"], {}, NO_IDLE)
    assert isinstance(found, SessionEnergy)
    assert found.gross_mj == pytest.approx(2500.0)


def test_a_sensor_without_errors_has_no_gap():
    assert gap(record(*read_but_between(8.0, 9.5)), "VDD_IN") is None


def test_errors_outside_of_the_measured_steps_cost_nothing():
    assert gap(record(*read_but_between(22.0, 24.0), failed()), "VDD_IN") is None


@pytest.mark.parametrize("read", [[], recorded.samples("VDD_IN", 5000.0, seconds=0.0)], ids=["never", "once"])
def test_a_sensor_that_was_read_at_most_once_gives_its_error(read):
    assert gap(record(*read, failed()), "VDD_IN") == "in1_input: No such device. (7 times)"


def test_a_counter_that_began_anew_while_it_could_not_be_read_is_no_wrap():
    def counted(t):
        return 2000.0 * t if t < 10 else 2000.0 * (t - 10)

    lines = read_but_between(9.45, 9.75, counted)  # under a second: too short to be a gap
    range_mj = {"VDD_IN": 262_144.0}
    found = session_energy(record(*lines, failed(), quantities={"VDD_IN": "energy_mj"}), ["VDD_IN"], range_mj, NO_IDLE)
    assert isinstance(found, Unavailable)
    assert "the counter fell meanwhile" in found.reason


def test_a_counter_that_wraps_while_another_reading_fails_still_counts():
    def counted(t):
        return (2000.0 * t) % 20_000.0

    lines = read_but_between(4.0, 4.1, counted)
    range_mj = {"VDD_IN": 20_000.0}
    made = record(*lines, failed(errors=1), quantities={"VDD_IN": "energy_mj"})
    found = session_energy(made, ["VDD_IN"], range_mj, NO_IDLE)
    assert isinstance(found, SessionEnergy)
    assert found.gross_mj == pytest.approx(1000.0)


def measurement_document(*lines, quantities):
    facts = tuple(SensorFact(name, quantity) for name, quantity in quantities.items())
    workload = {"model": "tiny", "method": "prge", "quant": "fp32", "backend": "xnnpack"}
    subject = Subject(
        device="pi",
        kind="jetson",
        emulated=False,
        workload=workload | {"q": 2, "b": 2, "T": 32, "rank": 16},
        planned_sessions=1,
        sensors=facts,
        energy_sensors=("VDD_IN",),
    )
    return measure(subject, [recorded.result(0, *lines, quantities=quantities, **SHAPE)]).document()


def test_only_the_sensor_that_failed_is_lost_to_the_measurement():
    quantities = GAUGE | {"cpu": "temperature_mc", "gpu": "temperature_mc"}
    zones = [*recorded.samples("cpu", 41_000.0, seconds=25), *recorded.samples("gpu", 40_000.0, seconds=25)]
    document = measurement_document(*read_but_between(8.0, 30.0), failed(), *zones, quantities=quantities)
    assert document["status"] == "ok"
    assert document["latency_ms"]["median"] == 500.0
    assert document["temperature_c"] == {"start": 41.0, "max": 41.0}
    for key in ("energy_mj_per_step", "power_mw"):
        assert "No such device" in document[key]["unavailable"]
    reasons = {sensor["name"]: sensor.get("unavailable") for sensor in document["sensors"]}
    assert "No such device" in reasons.pop("VDD_IN")
    assert reasons == {"cpu": None, "gpu": None}


def test_a_thermal_zone_that_failed_gives_no_peak():
    zone = read_but_between(8.0, 30.0, 41_000.0, "cpu")
    quantities = {"cpu": "temperature_mc"}
    document = measurement_document(*zone, failed("cpu", "temp: No data available."), quantities=quantities)
    assert document["temperature_c"]["unavailable"].startswith("cpu: temp: No data available. (7 times); it gave no")
