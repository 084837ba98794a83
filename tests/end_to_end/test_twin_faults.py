"""What happens to the link and to the power of a device in mid-session: real OpenSSH, the real runner on aarch64 code.

In each, what was measured before stays, the session that was hit is redone whole, the device beside it doesn't notice,
and no runner is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from suite_runs import Bench, wait_for
from twin_boards import RASPBERRY_PI_5
from twin_runs import OTHER, TwinRun, be_impatient, outcome, runners_in
from twin_ssh import SshTwin

from devices.built_runner import BuiltRunner

REDONE = [(0, 0, "ok"), (1, 0, "lost"), (1, 1, "ok")]
UNDISTURBED = [(0, 0, "ok"), (1, 0, "ok")]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_impatient(monkeypatch)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, aarch64_runner: BuiltRunner) -> Iterator[SshTwin]:
    """One for all: only the first run on it has to push the runner."""
    with SshTwin(tmp_path_factory.mktemp("board"), RASPBERRY_PI_5, cable=True) as running:
        yield running


@pytest.fixture
def twin(board: SshTwin) -> SshTwin:
    if not board.machine.running:
        board.start()
    return board


def entry(twin: SshTwin, **more: Any) -> dict[str, Any]:
    """Of kind `linux`: without a power sensor there is no idle power to wait for."""
    return twin.entry(kind="linux", threads=1, connect_timeout_s=10, **more)


def check(run: TwinRun, ran: Any, twin: SshTwin) -> None:
    """The board's second session was lost and redone, and nothing else was touched."""
    assert ran.code == 0, ran.err
    assert run.sessions() == REDONE
    assert outcome(ran)["status"] in ("ok", "unstable")
    assert len(outcome(ran)["latency_ms"]["sessions"]) == 2
    assert run.sessions(OTHER) == UNDISTURBED
    assert "board: connecting again in 2 s (1 of 2)" in ran.err
    assert not runners_in(twin)
    assert not (twin.home / "edge-training-suite/runner.pid").exists()


def test_a_killed_ssh_server_costs_one_session_which_is_redone(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))

    def restart() -> None:
        twin.kill()
        twin.start()

    with run.fault(restart):
        ran = run()
    check(run, ran, twin)


def test_a_stopped_device_is_lost_and_measured_again_when_it_goes_on(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))

    def stop_until_noticed() -> None:
        twin.pause()
        try:
            _wait_for_the_loss(run)
        finally:
            twin.resume()

    with run.fault(stop_until_noticed):
        ran = run()
    check(run, ran, twin)


def test_an_unplugged_cable_costs_one_session_once_it_is_back(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))
    assert twin.link is not None
    link = twin.link

    def unplug_until_noticed() -> None:
        link.unplug()
        try:
            _wait_for_the_loss(run)
        finally:
            link.plug()

    with run.fault(unplug_until_noticed):
        ran = run()
    check(run, ran, twin)


@pytest.mark.full
def test_a_reboot_costs_one_session_and_the_pid_file_it_left_names_nobody(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))
    pid_file = twin.home / "edge-training-suite/runner.pid"
    left: list[Any] = []

    def reboot() -> None:
        twin.stop()
        left.append(json.loads(pid_file.read_text()))
        twin.start()

    with run.fault(reboot):
        ran = run()
    assert left and left[0]["pid"] > 1
    check(run, ran, twin)
    assert "ended the runner" not in ran.err


def test_a_device_that_shows_another_host_key_in_mid_run_is_refused_at_once(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))
    before = twin.fingerprint

    def become_another() -> None:
        twin.stop()
        twin.new_host_key()
        twin.start()

    with run.fault(become_another):
        ran = run()
    found = outcome(ran)
    assert (ran.code, found["status"]) == (4, "partial")
    assert run.sessions() == [(0, 0, "ok"), (1, 0, "lost")]
    assert before in found["reason"] and twin.fingerprint in found["reason"]
    assert "enroll" in found["reason"]
    assert run.sessions(OTHER) == UNDISTURBED
    assert ran.err.count("connecting again") == 1
    assert not runners_in(twin)


@pytest.mark.full
def test_a_device_that_stays_away_keeps_what_it_had_and_the_next_run_measures_it(bench: Bench, twin: SshTwin) -> None:
    run = TwinRun(bench, **entry(twin))
    with run.fault(twin.stop):
        ran = run()
    assert (ran.code, outcome(ran)["status"]) == (4, "partial")
    assert run.sessions() == [(0, 0, "ok"), (1, 0, "lost")]
    assert run.sessions(OTHER) == UNDISTURBED
    twin.start()
    again = run()
    assert again.code == 0, again.err
    assert outcome(again)["status"] in ("ok", "unstable")
    assert not runners_in(twin)


def _wait_for_the_loss(run: TwinRun) -> None:
    wait_for(lambda: (1, 0, "lost") in run.sessions(), "the loss of the session")
