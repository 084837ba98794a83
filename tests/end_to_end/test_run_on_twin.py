"""`suite run` on an emulated board: real OpenSSH, real aarch64 code, the bundle."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML
from suite_runs import SETTINGS, SHAPE, Bench, by_setting
from twin_boards import RASPBERRY_PI_5
from twin_ssh import SshTwin

from devices.built_runner import BuiltRunner


def test_all_settings_are_measured_on_an_aarch64_board(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    """The suite itself compares the losses of each session with the reference; a wrong one would be `invalid`."""
    with SshTwin(tmp_path / "twin", RASPBERRY_PI_5) as twin:
        entry = twin.entry(kind="linux")
        YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
        ran = bench("run", "--device", "board", *SHAPE, "--quant", ",".join(SETTINGS), "--quick", "--json")
        assert ran.code in (0, 4), ran.err
        found = by_setting(ran.document)
        wrong = {name: item["reason"] for name, item in found.items() if item["status"] not in ("ok", "unstable")}
        assert not wrong
        assert all(item["emulated"] for item in found.values())
        assert not twin.machine.named("job.json")
        placed = twin.home / "edge-training-suite/runner" / aarch64_runner.hash
        assert (placed / "ld-linux-aarch64.so.1").is_file()
