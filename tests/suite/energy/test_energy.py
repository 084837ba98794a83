import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.unavailable import Unavailable
from suite.energy.session_energy import (
    WindowEnergy,
    alignment_error_ns,
    counter_energy,
    coverage_trouble,
    gauge_energy,
    net_energy_mj,
    refresh_period_ns,
)

S = 1_000_000_000
UPTIME_NS = 400 * 24 * 3600 * S  # a device that has been up for long: float64 seconds would lose digits


def sampled(power, *, seconds=20.0, hz=10.0, offset_s=0.0):
    times = [UPTIME_NS + int((k / hz + offset_s) * S) for k in range(int(seconds * hz) + 1)]
    return times, [power((time - UPTIME_NS) / S) for time in times]


def window(begin_s, end_s):
    return UPTIME_NS + int(begin_s * S), UPTIME_NS + int(end_s * S)


def energy(power, begin_s, end_s, **how):
    found = gauge_energy(*sampled(power, **how), *window(begin_s, end_s))
    assert isinstance(found, WindowEnergy)
    return found


def test_constant_power_gives_power_times_time():
    found = energy(lambda _: 2500.0, 3.333, 15.777)
    assert found.energy_mj == pytest.approx(2500.0 * 12.444, rel=1e-9)
    assert found.mean_power_mw == pytest.approx(2500.0, rel=1e-9)
    assert found.duration_s == pytest.approx(12.444)


def test_a_ramp_is_integrated_exactly_with_both_edges_between_samples():
    found = energy(lambda t: 100.0 * t, 1.234, 13.579)
    assert found.energy_mj == pytest.approx(50.0 * (13.579**2 - 1.234**2), rel=1e-9)


def test_a_sine_is_integrated_to_a_thousandth_at_ten_samples_a_second():
    found = energy(lambda t: 1000.0 + 500.0 * math.sin(2 * math.pi * t / 3), 0.55, 12.05)
    turn = 500.0 * 3 / (2 * math.pi)
    exact = 1000.0 * 11.5 - turn * (math.cos(2 * math.pi * 12.05 / 3) - math.cos(2 * math.pi * 0.55 / 3))
    assert found.energy_mj == pytest.approx(exact, rel=1e-3)


def test_edges_count_even_at_one_sample_a_second():
    # Leaving out the parts before the first and after the last sample inside would lose 10 %.
    found = energy(lambda _: 1000.0, 2.5, 12.5, hz=1.0)
    assert found.energy_mj == pytest.approx(10_000.0)


def test_a_window_between_two_samples_is_interpolated():
    assert energy(lambda t: 10.0 * t, 5.02, 5.07).energy_mj == pytest.approx(5.0 * (5.07**2 - 5.02**2), rel=1e-6)


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.floats(0, 1e5), min_size=60, max_size=60),
    cut=st.floats(1.0, 4.9),
)
def test_energies_of_two_parts_add_up_to_the_whole(values, cut):
    times = [k * S // 10 for k in range(60)]
    parts = [gauge_energy(times, values, *edge) for edge in ((S, int(cut * S) + 1), (int(cut * S) + 1, 5 * S))]
    whole = gauge_energy(times, values, S, 5 * S)
    assert sum(part.energy_mj for part in parts) == pytest.approx(whole.energy_mj, rel=1e-9, abs=1e-9)
    assert whole.energy_mj <= max(values) * 4.0 + 1e-6


def test_a_counter_gives_the_difference_with_both_edges_interpolated():
    times, counts = sampled(lambda t: 7000.0 + 1500.0 * t)
    found = counter_energy(times, counts, *window(2.25, 14.75), None)
    assert found.energy_mj == pytest.approx(1500.0 * 12.5, rel=1e-9)


def test_a_counter_that_wraps_twice_loses_nothing():
    span = 10_000.0
    times, counts = sampled(lambda t: (9_000.0 + 1500.0 * t) % span)
    assert sum(b < a for a, b in itertools.pairwise(counts)) >= 2
    found = counter_energy(times, counts, *window(0.25, 15.05), span)
    assert found.energy_mj == pytest.approx(1500.0 * 14.8, rel=1e-6)


def test_a_counter_that_falls_without_a_known_range_is_unavailable():
    times, counts = sampled(lambda t: (9_000.0 + 1500.0 * t) % 10_000.0)
    assert "range is unknown" in counter_energy(times, counts, *window(1, 12), None).reason


def test_a_counter_above_its_own_range_is_unavailable():
    times, counts = sampled(lambda t: (9_000.0 + 1500.0 * t) % 10_000.0)
    assert "more than its range of 5000 mJ" in counter_energy(times, counts, *window(1, 12), 5000.0).reason


@pytest.mark.parametrize(
    ("begin_s", "end_s", "why"),
    [
        (-0.5, 10, "first sample comes 500 ms after"),
        (1, 20.25, "last sample comes 250 ms before"),
        (5, 5, "window is empty"),
        (6, 5, "window is empty"),
    ],
)
def test_a_window_the_samples_do_not_cover_is_unavailable(begin_s, end_s, why):
    found = gauge_energy(*sampled(lambda _: 1.0), *window(begin_s, end_s))
    assert isinstance(found, Unavailable)
    assert why in found.reason


def test_a_gap_inside_the_window_is_unavailable_and_one_outside_is_not():
    times, values = sampled(lambda _: 1000.0)
    kept = [(time, value) for time, value in zip(times, values, strict=True) if not 4 * S < time - UPTIME_NS < 6 * S]
    times, values = [time for time, _ in kept], [value for _, value in kept]
    assert (
        "missing for 2000 ms (usually there is one every 100 ms)" in gauge_energy(times, values, *window(1, 15)).reason
    )
    assert gauge_energy(times, values, *window(6.5, 19)).energy_mj == pytest.approx(12_500.0)


def test_a_gap_too_small_to_matter_is_bridged():
    times, values = sampled(lambda _: 1000.0, seconds=100)
    del times[500:505], values[500:505]
    assert gauge_energy(times, values, *window(1, 99)).energy_mj == pytest.approx(98_000.0)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_are_unavailable(count):
    assert f"{count} samples" in coverage_trouble([5] * count, 1, 10).reason


def test_times_that_run_backwards_are_unavailable():
    assert "backwards" in coverage_trouble([1, 20, 10, 30], 5, 25).reason


@pytest.mark.parametrize(
    ("hz", "seconds", "short"),
    [(10.0, 9.9, True), (10.0, 10.1, False), (5.0, 15.0, True), (5.0, 20.2, False), (1.0, 60.0, True)],
)
def test_a_window_under_ten_seconds_or_a_hundred_periods_is_short(hz, seconds, short):
    assert energy(lambda t: t, 1, 1 + seconds, seconds=130, hz=hz).short is short


def test_a_slow_sensor_read_fast_counts_by_its_own_refresh_period():
    found = energy(lambda t: float(int(t)), 1, 31, seconds=40)
    assert found.rate_hz == pytest.approx(10.0)
    assert found.refresh_ms == pytest.approx(1000.0)
    assert found.short


def test_refresh_period_is_the_spacing_of_value_changes():
    times, values = sampled(lambda t: float(int(t * 2 + 1e-6)))
    assert refresh_period_ns(times, values) == pytest.approx(0.5 * S)


def test_refresh_period_of_a_value_that_hardly_changes_is_unavailable():
    times, values = sampled(lambda t: 1.0 if t < 10 else 2.0)
    assert "changed 1 times" in refresh_period_ns(times, values).reason


def test_alignment_error_is_the_largest_jitter_around_the_window():
    times = [k * S // 10 for k in range(100)]
    assert alignment_error_ns(times, 2 * S, 5 * S) == 0.0
    times[35] += 30_000_000
    assert alignment_error_ns(times, 2 * S, 5 * S) == 30_000_000.0
    assert alignment_error_ns(times, 5 * S, 8 * S) == 0.0


def test_net_energy_takes_the_mean_of_both_idle_powers_away():
    gross = energy(lambda _: 5000.0, 2, 14)
    assert net_energy_mj(gross, 1000.0, 2000.0) == pytest.approx(3500.0 * 12)


def test_an_idle_power_above_the_power_in_use_is_no_net_energy():
    found = net_energy_mj(energy(lambda _: 500.0, 2, 14), 1000.0, 2000.0)
    assert "idle power (1500 mW) is above" in found.reason


def test_edge_interpolation_beats_dropping_the_first_interval_on_noise():
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(50):
        phase, begin = rng.uniform(0, 6.28), rng.uniform(1, 2)
        found = energy(lambda t, p=phase: 3000.0 + 300.0 * math.sin(t + p), begin, begin + 10, hz=1.0)
        exact = 30_000.0 - 300.0 * (math.cos(begin + 10 + phase) - math.cos(begin + phase))
        worst = max(worst, abs(found.energy_mj - exact) / exact)
    assert worst < 0.02
