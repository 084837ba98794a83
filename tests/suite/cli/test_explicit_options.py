"""Options on the command line count more than those that a short word stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.cli.main import run_command


@pytest.mark.parametrize(
    ("words", "expected"),
    [("", (1, 3)), ("--sessions 5", (5, 3)), ("--steps 7", (1, 7)), ("--sessions 5 --steps 10", (5, 10))],
)
def test_quick_takes_what_stands_beside_it(
    words: str, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n")
    assert run_command(f"run --device local --model tiny --quick --dry-run --json {words}".split()) == 0
    plan = json.loads(capsys.readouterr().out)["plans"][0]["plan"]
    assert (plan["sessions"], plan["steps"]) == expected
