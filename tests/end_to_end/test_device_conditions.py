"""Energy, heat, throttling and settings that a device cannot execute, on a device of files with a scripted runner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suite.preparing import preparation
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench, by_setting
from workloads.estimates.estimate import estimate

BOTH = (*RUN, "--quant", "fp32,nf4", "--steps", "12", "--json")


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The device."""
    return make_board(bench, monkeypatch)


def test_energy_is_the_integral_of_the_samples_and_net_of_the_idle_power_around(board: Board, bench: Bench) -> None:
    ran = bench(*BOTH, "--sessions", "1")
    item = by_setting(ran.document)["fp32"]
    # Of 6000 + 500 t mW over 12 s: 72 J + 36 J, in 12 steps; 3000 mW while idle.
    assert item["energy_mj_per_step"]["gross"] == pytest.approx(9000.0)
    assert item["energy_mj_per_step"]["net"] == pytest.approx(6000.0)
    assert item["power_mw"] == {"mean": pytest.approx(9000.0), "idle": pytest.approx(3000.0)}
    assert item["energy_mj_per_step"]["short"] is False
    assert item["energy_mj_per_step"]["rate_hz"] == pytest.approx(10.0)
    assert "battery" in item["energy_mj_per_step"]["method"]
    # Idle before, between and after two sessions: the idle time in between counts for both.
    assert board.now_ns == pytest.approx(3 * 10.1e9, rel=0.02)


def test_a_setting_that_the_device_cannot_execute_is_unsupported_and_the_others_go_on(
    board: Board, bench: Bench
) -> None:
    lacking = {"error_code": "0x14", "stage": "load", "reason": "no kernel for prge::linear_frozen.out"}
    board.script(nf4={"error": lacking})
    ran = bench(*BOTH, "--sessions", "3")
    found = by_setting(ran.document)
    assert ran.code == 0
    assert (found["fp32"]["status"], found["nf4"]["status"]) == ("ok", "unsupported")
    assert "OperatorMissing (no kernel for prge::linear_frozen.out)" in found["nf4"]["reason"]
    assert found["nf4"]["latency_ms"]["unavailable"] == found["nf4"]["reason"]
    assert [setting for setting, *_ in bench.sessions()].count("nf4") == 1  # trying again is of no use


def test_a_throttled_session_is_redone_at_most_twice(board: Board, bench: Bench) -> None:
    board.script(fp32={"throttled_attempts": 2}, nf4={"throttled_attempts": 9})
    ran = bench(*BOTH, "--sessions", "1")
    found = by_setting(ran.document)
    assert bench.sessions() == [
        ("fp32", 0, 0, "throttled"),
        ("fp32", 0, 1, "throttled"),
        ("fp32", 0, 2, "ok"),
        ("nf4", 0, 0, "throttled"),
        ("nf4", 0, 1, "throttled"),
        ("nf4", 0, 2, "throttled"),
    ]
    assert (ran.code, found["fp32"]["status"], found["nf4"]["status"]) == (4, "ok", "invalid")
    assert found["fp32"]["throttled"]
    assert "throttling events" in found["nf4"]["reason"]


def test_a_session_waits_until_the_device_has_cooled(board: Board, bench: Bench) -> None:
    board.script(fp32={"heats": str(board.temperature)})

    def cool() -> None:
        board.temperature.write_text(str(int(board.temperature.read_text()) - 5000))

    board.on_poll.append(cool)
    ran = bench(*BOTH, "--sessions", "1")
    assert ran.code == 0
    assert board.polls == 2
    assert "local: waiting for soc to cool: 10.0 degC above the start" in ran.err
    assert "local: waiting for soc to cool: 5.0 degC above the start" in ran.err


def test_a_device_that_does_not_cool_is_throttled_not_measured(board: Board, bench: Bench) -> None:
    board.script(fp32={"heats": str(board.temperature)})
    item = by_setting(bench(*BOTH, "--sessions", "1").document)["nf4"]
    assert item["status"] == "invalid"
    assert "soc was still 10.0 degC above the run's start after waiting 600 s" in item["reason"]


def test_a_trip_point_ends_the_session(board: Board, bench: Bench) -> None:
    board.script(fp32={"temperature_mc": 95000.0, "hang": True})
    ran = bench(*BOTH, "--sessions", "1")
    found = by_setting(ran.document)
    assert (ran.code, found["fp32"]["status"], found["nf4"]["status"]) == (4, "failed", "ok")
    assert "soc reached 95.0 degC, its trip point" in found["fp32"]["reason"]
    assert bench.runner_pid() is None


def test_losses_off_the_reference_are_invalid_and_reach_no_comparison(board: Board, bench: Bench) -> None:
    board.script(fp32={"losses": [[9.0] * 4]})
    found = by_setting(bench(*BOTH, "--sessions", "1").document)
    assert found["fp32"]["status"] == "invalid"
    assert "is off the reference by" in found["fp32"]["reason"]
    assert "unavailable" in found["fp32"]["latency_ms"]
    assert found["nf4"]["ratio_to_reference"]["setting"] == "nf4"


def test_a_setting_that_does_not_fit_into_memory_fails_alone(
    board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board.root / "proc/meminfo").write_text("MemTotal: 90000 kB\nMemAvailable: 40000 kB\n")

    def fp32_is_large(workload: Any, config: Any) -> Any:
        made = estimate(workload, config)
        return replace(made, memory_bytes=1 << 30) if workload.quant == "fp32" else replace(made, memory_bytes=1 << 20)

    monkeypatch.setattr(preparation, "estimate", fp32_is_large)
    found = by_setting(bench(*BOTH, "--sessions", "1").document)
    assert (found["fp32"]["status"], found["nf4"]["status"]) == ("failed", "ok")
    assert "39 MiB available, 1024 MiB needed" in found["fp32"]["reason"]
