"""`suite run` on the twin of a phone: real adbd and the real runner on aarch64 code."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.suite_runs import Bench
from tests.support.end_to_end.twin_runs import TwinRun, outcome, runners_in
from tests.support.twins.twin_adb import AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE

pytestmark = pytest.mark.twins


def test_a_phone_is_measured_and_the_second_run_pushes_nothing(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)
    with AdbTwin(tmp_path / "phone", ANDROID_PHONE) as phone:
        for name, value in phone.environ.items():
            monkeypatch.setenv(name, value)
        run = TwinRun(bench, **phone.entry(threads=1))
        ran = run(sessions=1, steps=3)
        assert ran.code == 0, ran.err
        found = outcome(ran)
        assert (found["status"], found["kind"], found["emulated"]) == ("ok", "android", True)
        assert found["loss"]["reference_steps"] >= 3
        assert not runners_in(phone)
        again = run(sessions=1, steps=3)
        assert "board: all files are there, nothing pushed" in again.err
        # A host that is too busy to read the gauge in time says so, and measures again.
        powers = (outcome(each)["power_mw"] for each in (ran, again, *(run(sessions=1, steps=3) for _ in range(3))))
        power = next(found for found in powers if "unavailable" not in found)
        assert power["mean"] == pytest.approx(412 * 4.102)  # the gauge's current times its voltage
