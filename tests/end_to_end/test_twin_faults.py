"""What happens to the link and to the power of a device in mid-session: real OpenSSH, real adbd, the real runner.

In each, what was measured before stays, the session that was hit is redone whole, the device beside it doesn't notice,
and no runner is left.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from suite.measuring import idle_device
from suite.measuring.reaching import Reconnecting
from tests.support.end_to_end.suite_runs import Bench, wait_for
from tests.support.end_to_end.twin_runs import (
    FAULT_TIMEOUT_S,
    OTHER,
    TwinRun,
    be_impatient,
    outcome,
    runners_in,
    steps_to_hit,
)
from tests.support.twins.twin_devices import LINKS, Twin, make_twin, revive
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins

REDONE = [(0, 0, "ok"), (1, 0, "lost"), (1, 1, "ok")]
UNDISTURBED = [(0, 0, "ok"), (1, 0, "ok")]


@pytest.fixture(scope="module", params=[(link, False) for link in LINKS], ids=LINKS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """One twin of each link for all tests: only the first run on it has to push the runner."""
    link, emulated = request.param
    request.getfixturevalue("aarch64_runner" if emulated else "host_bundle")
    with make_twin(link, tmp_path_factory.mktemp(link), emulated=emulated) as running:
        yield running


@pytest.fixture
def twin(board: Twin, monkeypatch: pytest.MonkeyPatch) -> Twin:
    be_impatient(monkeypatch)
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)
    for name, value in board.environ.items():
        monkeypatch.setenv(name, value)
    revive(board)
    return board


@pytest.fixture
def run(bench: Bench, twin: Twin) -> TwinRun:
    """The board is of kind `linux`: without a power sensor there is no idle power to wait for."""
    over_ssh = isinstance(twin, SshTwin)
    own: dict[str, Any] = {"kind": "linux"} if over_ssh else {"serial": _identity(twin)}
    return TwinRun(bench, steps=steps_to_hit(twin), **twin.entry(connect_timeout_s=30, threads=1, **own))


def check(run: TwinRun, ran: Any, twin: Twin) -> None:
    """Asserts that the board's second session was lost and redone, and nothing else was affected."""
    assert ran.code == 0, ran.err
    assert run.sessions() == REDONE
    assert outcome(ran)["status"] in ("ok", "unstable")
    assert len(outcome(ran)["latency_ms"]["sessions"]) == 2
    assert run.sessions(OTHER) == UNDISTURBED
    assert "board: connecting again in 2 s (1 of 2)" in ran.err
    assert not runners_in(twin)
    assert not (twin.workdir / "edge-training-suite/runner.pid").exists()


@pytest.mark.parametrize(
    "board", [(link, True) for link in LINKS], ids=[f"{link} aarch64" for link in LINKS], indirect=True
)
def test_a_killed_daemon_costs_one_session_which_is_redone(run: TwinRun, twin: Twin) -> None:
    def restart() -> None:
        twin.kill()
        twin.start()

    with run.fault(restart):
        ran = run()
    check(run, ran, twin)


def test_a_stopped_device_is_lost_and_measured_again_when_it_goes_on(run: TwinRun, twin: Twin) -> None:
    def stop_until_noticed() -> None:
        twin.pause()
        try:
            _wait_for_the_loss(run)
        finally:
            twin.resume()

    with run.fault(stop_until_noticed):
        ran = run()
    check(run, ran, twin)


def test_an_unplugged_cable_costs_one_session_once_it_is_back(run: TwinRun, twin: Twin) -> None:
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


def test_a_reboot_costs_one_session_and_the_pid_file_it_left_names_nobody(run: TwinRun, twin: Twin) -> None:
    pid_file, boot_id = twin.workdir / "edge-training-suite/runner.pid", twin.root / "run/boot_id"
    left: list[Any] = []

    def reboot() -> None:
        twin.stop()
        left.append(json.loads(pid_file.read_text()))
        assert left[0]["boot_id"] == boot_id.read_text().strip()
        twin.start()

    with run.fault(reboot):
        ran = run()
    assert left and left[0]["pid"] > 1
    assert left[0]["boot_id"] != boot_id.read_text().strip()
    check(run, ran, twin)
    assert "ended the runner" not in ran.err


def test_another_device_at_the_address_in_mid_run_is_refused_at_once(
    run: TwinRun, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH its host key gives it away, over adb its serial number."""
    identities: list[str] = []
    there = threading.Event()

    def seconds_until_it_is_there(_: Reconnecting) -> float:
        assert there.wait(FAULT_TIMEOUT_S)
        return 0.0

    monkeypatch.setattr(Reconnecting, "_seconds", seconds_until_it_is_there)

    def become_another() -> None:
        identities.append(_identity(twin))
        twin.stop()
        _become_another(twin)
        identities.append(_identity(twin))
        twin.start()
        there.set()

    with run.fault(become_another):
        ran = run()
    found = outcome(ran)
    assert (ran.code, found["status"]) == (4, "partial")
    assert run.sessions() == [(0, 0, "ok"), (1, 0, "lost")]
    assert len(set(identities)) == 2
    assert all(identity in found["reason"] for identity in identities)
    assert ("enroll" if isinstance(twin, SshTwin) else "`serial`") in found["reason"]
    assert run.sessions(OTHER) == UNDISTURBED
    assert ran.err.count("connecting again") == 1
    assert not runners_in(twin)


@pytest.mark.full
def test_a_device_that_stays_away_keeps_what_it_had_and_the_next_run_measures_it(run: TwinRun, twin: Twin) -> None:
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


def _identity(twin: Twin) -> str:
    if isinstance(twin, SshTwin):
        return twin.fingerprint
    properties = (twin.root / "var/lib/twin-android/properties").read_text()
    return next(line for line in properties.splitlines() if line.startswith("ro.serialno=")).partition("=")[2]


def _become_another(twin: Twin) -> None:
    if isinstance(twin, SshTwin):
        twin.new_host_key()
        return
    properties = (twin.root / "var/lib/twin-android/properties").read_text()
    twin.write("/var/lib/twin-android/properties", properties.replace(_identity(twin), "OTHER0002"))


def _wait_for_the_loss(run: TwinRun) -> None:
    wait_for(lambda: (1, 0, "lost") in run.sessions(), "the loss of the session")
