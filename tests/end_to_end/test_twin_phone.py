"""`suite run` on the twin of a phone: real adbd and the real runner on aarch64 code, with and without a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from suite_runs import Bench, wait_for
from twin_adb import AdbTwin
from twin_boards import ANDROID_PHONE
from twin_runs import OTHER, TwinRun, be_impatient, outcome, runners_in

from devices.built_runner import BuiltRunner
from suite import gate

REDONE = [(0, 0, "ok"), (1, 0, "lost"), (1, 1, "ok")]
UNDISTURBED = [(0, 0, "ok"), (1, 0, "ok")]


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory, aarch64_runner: BuiltRunner) -> Iterator[AdbTwin]:
    """One for all: only the first run on it has to push the runner."""
    with AdbTwin(tmp_path_factory.mktemp("phone"), ANDROID_PHONE) as running:
        yield running


@pytest.fixture
def run(bench: Bench, phone: AdbTwin, monkeypatch: pytest.MonkeyPatch) -> TwinRun:
    be_impatient(monkeypatch)
    monkeypatch.setattr(gate, "IDLE_SECONDS", 1.0)
    for name, value in phone.environ.items():
        monkeypatch.setenv(name, value)
    return TwinRun(bench, **phone.entry())


def check(run: TwinRun, ran: Any, phone: AdbTwin) -> None:
    """The phone's second session was lost and redone, and nothing else was touched."""
    assert ran.code == 0, ran.err
    assert run.sessions() == REDONE
    assert outcome(ran)["status"] in ("ok", "unstable")
    assert run.sessions(OTHER) == UNDISTURBED
    assert not runners_in(phone)


def test_a_phone_is_measured_and_the_second_run_pushes_nothing(run: TwinRun, phone: AdbTwin) -> None:
    ran = run(sessions=1, steps=3)
    assert ran.code == 0, ran.err
    found = outcome(ran)
    assert (found["status"], found["kind"], found["emulated"]) == ("ok", "android", True)
    assert found["loss"]["reference_steps"] == 3
    assert not runners_in(phone)
    assert "board: all files are there, nothing pushed" in run(sessions=1, steps=3).err


def test_a_killed_adb_daemon_costs_one_session_which_is_redone(run: TwinRun, phone: AdbTwin) -> None:
    def restart() -> None:
        phone.kill()
        phone.start()

    with run.fault(restart):
        ran = run()
    check(run, ran, phone)


def test_a_stopped_phone_is_lost_and_measured_again_when_it_goes_on(run: TwinRun, phone: AdbTwin) -> None:
    def stop_until_noticed() -> None:
        phone.pause()
        try:
            wait_for(lambda: (1, 0, "lost") in run.sessions(), "the loss of the session")
        finally:
            phone.resume()

    with run.fault(stop_until_noticed):
        ran = run()
    check(run, ran, phone)
