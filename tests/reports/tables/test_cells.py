"""Cells of a run's tables: which number stands first, what is below it, and what it sorts by."""

from __future__ import annotations

from typing import Any

from reports.model.measurement import Measurement, measurements
from reports.tables import results
from reports.tables.sections import GridCell

NBSP = "\u00a0"


def item(**record: Any) -> Measurement:
    (found,) = measurements(
        {"measurements": [{"device": "board", "workload": {"quant": "int8"}, "status": "ok"} | record]}
    )
    return found


def plain(cell: GridCell) -> tuple[str, ...]:
    return tuple(text.replace(NBSP, " ") for text in (cell.main, *cell.small))


def test_energy_is_the_net_one_with_the_gross_below() -> None:
    energy = {"net": 4600.0, "gross": 6500.0, "short": False}
    cell = results.energy(item(energy_mj_per_step=energy))
    assert (plain(cell), cell.sort) == (("4.60 J", "net", "gross 6.50 J"), "4600")
    short = results.energy(item(energy_mj_per_step=energy | {"short": True}))
    assert plain(short)[-1] == "short window"


def test_gross_energy_alone_says_so_and_does_not_sort_with_net_ones() -> None:
    cell = results.energy(item(energy_mj_per_step={"net": {"unavailable": "no idle power"}, "gross": 6500.0}))
    assert (plain(cell), cell.sort) == (("6.50 J", "gross only", "no idle power"), "")


def test_memory_over_weights_divides_kib_by_kib() -> None:
    cell = results.memory_over_weights(item(peak_memory_kib=150_000, weight_bytes=102_400_000))
    assert plain(cell) == ("1.50\u00d7", "of 97.7 MiB")


def test_a_program_is_as_large_as_its_bytes() -> None:
    cell = results.program_size(item(program_bytes=1_048_576))
    assert (plain(cell), cell.sort) == (("1.00 MiB",), "1024")


def test_power_stands_above_what_the_device_takes_when_idle() -> None:
    assert plain(results.power(item(power_mw={"mean": 6500.0, "idle": 1900.0}))) == (
        "6.50 W",
        "idle 1.90 W",
    )


def test_latency_has_its_interval_and_its_sessions() -> None:
    latency = {"median": 1200.0, "ci95": [1180.0, 1230.0], "sessions": [1180.0, 1200.0, 1230.0]}
    cell = results.latency(item(latency_ms=latency))
    assert (plain(cell), cell.sort) == (("1.20 s", "95 %: 1.18\u20131.23 s", "n = 3 sessions"), "1200")
    none = results.latency(item(latency_ms=latency | {"ci95": {"unavailable": "too few"}}))
    assert plain(none)[1:] == ("range: 1.18\u20131.23 s", "n = 3 sessions")


def test_a_ratio_whose_interval_contains_1_calls_the_two_indistinguishable() -> None:
    ratio = {"setting": "fp32", "latency": {"ratio": 0.99, "ci95": [0.95, 1.03]}}
    assert "can't be told apart" in plain(results.to_reference(item(ratio_to_reference=ratio)))


def test_a_ratio_is_to_the_reference_and_the_reference_is_one() -> None:
    ratio = {"setting": "fp32", "latency": {"ratio": 0.482, "ci95": [0.47, 0.5]}}
    assert plain(results.to_reference(item(ratio_to_reference=ratio))) == (
        "0.482\u00d7", "95 %: 0.470\u20130.500\u00d7",
    )  # fmt: skip
    own = results.to_reference(item(ratio_to_reference=ratio | {"setting": "int8"}))
    assert plain(own) == ("1.00\u00d7", "the reference")


def test_a_missing_value_has_its_reason_and_sorts_last() -> None:
    gone = {"unavailable": "no rail"}
    found = [
        results.power(item(power_mw=gone)),
        results.peak_memory(item()),
        results.energy(item(energy_mj_per_step=gone)),
    ]
    assert [(plain(cell), cell.sort) for cell in found] == [
        (("unavailable", "no rail"), ""),
        (("unavailable", "not recorded by this run"), ""),
        (("unavailable", "no rail"), ""),
    ]
