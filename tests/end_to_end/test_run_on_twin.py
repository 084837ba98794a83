"""`suite run` on emulated boards: real OpenSSH, real aarch64 code, the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from devices.deployment.built_runner import BuiltRunner
from suite.measuring import idle_device
from tests.support.end_to_end.suite_runs import SETTINGS, SHAPE, Bench, by_setting
from tests.support.end_to_end.twin_runs import runners_in
from tests.support.twins.twin_boards import JETSON_NANO, RASPBERRY_PI_5, Board
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins


def test_all_settings_are_measured_on_an_aarch64_board(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    """The suite itself compares the losses of each session with the reference; a wrong one would be `invalid`."""
    with SshTwin(tmp_path / "twin", RASPBERRY_PI_5, busybox=True) as twin:
        entry = twin.entry(kind="linux")
        YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
        ran = bench("run", "--device", "board", *SHAPE, "--quant", ",".join(SETTINGS), "--quick", "--json")
        assert ran.code in (0, 4), ran.err
        found = by_setting(ran.document)
        wrong = {name: item["reason"] for name, item in found.items() if item["status"] not in ("ok", "unstable")}
        assert not wrong
        assert all(item["emulated"] for item in found.values())
        assert not runners_in(twin)
        folder = twin.home / "edge-training-suite/runner" / aarch64_runner.hash
        assert (folder / "ld-linux-aarch64.so.1").is_file()


@pytest.mark.parametrize(
    ("board", "power"),
    [(RASPBERRY_PI_5, "pmic"), (JETSON_NANO, "POM_5V_IN")],
    ids=["Raspberry Pi 5", "Jetson Nano"],
)
def test_a_board_is_measured_with_its_power_and_the_second_run_pushes_nothing(
    bench: Bench,
    aarch64_runner: BuiltRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    board: Board,
    power: str,
) -> None:
    monkeypatch.setattr(idle_device, "IDLE_SECONDS", 1.0)
    with SshTwin(tmp_path / "twin", board) as twin:
        YAML().dump({"devices": {"board": twin.entry(threads=1)}}, bench.folder / "inventory.yaml")
        quick = ("run", "--device", "board", *SHAPE, "--quant", "fp32", "--quick", "--json")
        ran = bench(*quick)
        assert ran.code == 0, ran.err
        item = by_setting(ran.document)["fp32"]
        assert (item["status"], item["kind"], item["emulated"]) == ("ok", board.kind, True)
        assert item["loss"]["reference_steps"] >= 3
        assert power in {sensor["name"] for sensor in item["sensors"] if "method" in sensor}
        assert not runners_in(twin)
        again = bench(*quick)
        assert again.code == 0, again.err
        assert "board: all files are there, nothing pushed" in again.err
        assert not runners_in(twin)
