import pytest

from foundation.unavailable import Unavailable
from suite.energy.session_energy import SessionEnergy, mean_power_mw, session_energy
from suite.sessions.record import IdlePower, SensorTrace
from tests.support.suite import recorded_session as recorded

NO_IDLE = Unavailable("nobody looked")


def record(*lines, quantities, ms=500.0, measured_steps=40):
    return recorded.record(*lines, quantities=quantities, ms=ms, measured_steps=measured_steps)


def power(watts, name="VDD_IN", seconds=25.0):
    return recorded.samples(name, watts * 1000.0, seconds=seconds)


def test_energy_per_step_is_energy_over_steps():
    made = record(*power(5.0), quantities={"VDD_IN": "power_mw"})
    found = session_energy(made, ["VDD_IN"], {}, IdlePower(1000.0, 3000.0))
    assert isinstance(found, SessionEnergy)
    assert found.steps == 40
    assert found.gross_mj == pytest.approx(5000.0 * 0.5)
    assert found.net_mj == pytest.approx(3000.0 * 0.5)
    assert found.mean_power_mw == pytest.approx(5000.0)
    assert found.idle_power_mw == 2000.0
    assert not found.short


def test_without_idle_power_the_gross_energy_stays():
    found = session_energy(record(*power(5.0), quantities={"VDD_IN": "power_mw"}), ["VDD_IN"], {}, NO_IDLE)
    assert found.gross_mj == pytest.approx(2500.0)
    assert found.net_mj == NO_IDLE


def test_domains_of_a_counter_are_added():
    lines = [
        *recorded.samples("p0", lambda t: 2000.0 * t, seconds=25),
        *recorded.samples("p1", lambda t: (3000.0 * t) % 40_000.0, seconds=25),
    ]
    made = record(*lines, quantities={"p0": "energy_mj", "p1": "energy_mj"})
    found = session_energy(made, ["p0", "p1"], {"p1": 40_000.0}, NO_IDLE)
    assert found.gross_mj == pytest.approx(2500.0)


def test_steps_after_the_last_sample_are_left_out_not_guessed():
    # Samples end 10.4 s in: the steps that end by then are whole.
    made = record(*power(5.0, seconds=10.4), quantities={"VDD_IN": "power_mw"})
    found = session_energy(made, ["VDD_IN"], {}, NO_IDLE)
    assert found.steps == 18
    assert found.gross_mj == pytest.approx(2500.0)


def test_a_sensor_without_samples_gives_its_error():
    broken = {"event": "sensor_error", "sensor": "VDD_IN", "errors": 9, "reason": "Permission denied"}
    found = session_energy(record(broken, quantities={"VDD_IN": "power_mw"}), ["VDD_IN"], {}, NO_IDLE)
    assert found == Unavailable("VDD_IN: Permission denied (9 times)")


def test_samples_that_miss_every_measured_step_are_unavailable():
    made = record(*power(5.0, seconds=0.5), quantities={"VDD_IN": "power_mw"})
    assert "no measured step of 40" in session_energy(made, ["VDD_IN"], {}, NO_IDLE).reason


def test_a_quantity_that_is_no_power_is_refused_by_name():
    made = record(*power(5.0), quantities={"VDD_IN": "temperature_mc"})
    assert (
        session_energy(made, ["VDD_IN"], {}, NO_IDLE).reason == "VDD_IN: energy can't be computed from temperature_mc"
    )


def test_mean_power_of_a_quiet_time_adds_gauge_and_counter():
    gauge = SensorTrace("g", "power_mw", (0, 10**9, 2 * 10**9), (100.0, 100.0, 100.0))
    counter = SensorTrace("c", "energy_mj", (0, 10**9, 2 * 10**9), (0.0, 50.0, 100.0))
    assert mean_power_mw({"g": gauge, "c": counter}, ["g", "c"], {}) == pytest.approx(150.0)
    assert mean_power_mw({"g": gauge}, ["g", "c"], {}) == Unavailable("1 of 2 power sensors gave samples")
