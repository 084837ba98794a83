"""`suite devices remove`: what goes, and what it says of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.cli.main import run_command


def test_what_stays_of_a_removed_device_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yaml").write_text(
        "devices:\n  local: {kind: local}\n  pi: {kind: raspberrypi, host: h, workdir: /srv/bench}\n"
        "groups:\n  boards: {devices: [pi]}\n"
    )
    assert run_command(["devices", "remove", "pi"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["inventory.yaml has no device pi any more", "nor has its group boards, which is empty now"]
    assert "its measurements and reports stay" in printed[2]
    assert printed[3].endswith("on the device itself stay too, in /srv/bench")
    assert run_command(["devices", "remove", "pi"]) == 2
    assert "suite devices add pi" in capsys.readouterr().err
