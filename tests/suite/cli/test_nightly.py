"""`suite nightly`: its files are there whatever becomes of its output."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from suite.cli.main import run_command
from suite.errors import ExitCode
from tests.support.suite.nights_made import night, verdict_of

PLAN = """\
defaults: {devices: local, models: tiny}
plans:
  small: {quants: [fp32], shapes: [{q: 1, b: 1, T: 4}]}
"""


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [("post", KeyboardInterrupt(), ExitCode.INTERRUPTED), ("_print", OSError(errno.ENOSPC, "full"), ExitCode.ERROR)],
)
def test_files_are_written_before_anything_waits_for_a_server_or_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, code: ExitCode
) -> None:
    def fail(*_: object) -> None:
        raise error

    found = night(verdict_of("regressed"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("suite.cli.measure.nightly.carry_out", lambda *_: found)
    monkeypatch.setattr(f"suite.cli.measure.nightly.{step}", fail)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n")
    (tmp_path / "nightly.yaml").write_text(PLAN)
    assert run_command(["nightly"]) == code
    folder = tmp_path / "home" / "nights" / found.run_id
    assert json.loads((folder / "night.json").read_text())["exit_code"] == ExitCode.REGRESSION
    assert {path.name for path in folder.iterdir()} == {"junit.xml", "summary.md", "night.json"}
