"""The host's clock is changed during a run: numbers, sessions, waits and exports are as if it had not been."""

from __future__ import annotations

import datetime as datetime_module
import json
import time
from typing import Any

import pytest

from suite.measuring import deployment
from suite.store import identity
from suite.store.store import Store
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench

HOURS = 3600.0


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    return make_board(bench, monkeypatch)


def let_clock_jump(monkeypatch: pytest.MonkeyPatch, hours: float) -> list[float]:
    """Moves the host's clock by `hours` whenever a session is stored; returns the jumps so far."""
    jumps: list[float] = []
    real_time, real_add = time.time, Store.add_session

    class Jumping(datetime_module.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime_module.datetime.fromtimestamp(time.time(), tz)

    def add_session(self: Store, *arguments: Any) -> None:
        real_add(self, *arguments)
        jumps.append(hours * HOURS)

    monkeypatch.setattr(time, "time", lambda: real_time() + sum(jumps))
    monkeypatch.setattr(identity, "datetime", Jumping)
    monkeypatch.setattr(deployment, "datetime", Jumping)
    monkeypatch.setattr(Store, "add_session", add_session)
    return jumps


@pytest.mark.parametrize("hours", [-7.0, 7.0])
def test_a_jump_of_the_clock_changes_no_number(
    board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    jumps = let_clock_jump(monkeypatch, hours)
    ran = bench(*RUN, "--quant", "nf4", "--sessions", "3", "--json")
    assert ran.code == 0, ran.err
    assert len(jumps) == 3
    (found,) = ran.document["measurements"]
    assert found["latency_ms"]["sessions"] == [1000.0, 1000.0, 1000.0]  # by the runner's own clock
    ((started, finished),) = bench.rows("SELECT started_at, finished_at FROM run")
    assert (finished < started) == (hours < 0)
    assert bench("history").code == 0
    assert bench("trace", "latest", "--to", "trace.json").code == 0
    events = json.loads((bench.folder / "trace.json").read_text())["traceEvents"]
    assert all(event.get("dur", 0) >= 0 for event in events)
    exported = bench("data", "export", "latest", "--format", "json").out.strip()
    assert bench("data", "import", exported, "--from", "bonn").code == 0


def test_a_run_resumed_after_a_jump_measures_only_what_is_left(
    board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_clock_jump(monkeypatch, -30.0)
    arguments = (*RUN, "--quant", "nf4", "--sessions", "2")
    assert bench(*arguments).code == 0
    (run_id,) = (run_id for run_id, _ in bench.runs())
    bench.change("DELETE FROM sample WHERE session_id LIKE '%.s1.a0'")
    bench.change("DELETE FROM session WHERE ordinal = 1")
    bench.change("UPDATE run SET status = 'interrupted'")
    assert bench("run", "--resume").code == 0
    assert bench.runs() == [(run_id, "finished")]
    assert [(ordinal, status) for _, ordinal, _, status in sorted(bench.sessions())] == [(0, "ok"), (1, "ok")]
