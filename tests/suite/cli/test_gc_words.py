"""`suite gc` says what it would do before it does it, and what it has done afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.cli.main import run_command


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that nobody has used for years."""
    monkeypatch.setenv("SUITE_HOME", str(tmp_path))
    folder = tmp_path / "artifacts" / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / "program.pte").write_bytes(b"0" * 2_000_000)
    os.utime(folder, (1_600_000_000, 1_600_000_000))
    return folder


@pytest.mark.parametrize(
    ("option", "there", "words"),
    [
        ("--dry-run", True, ["remove program", "nothing was changed"]),
        ("--yes", False, ["removed program", "removed 1 item, freed 2.00 MB"]),
    ],
)
def test_what_was_done_is_in_the_past(
    option: str, there: bool, words: list[str], program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["gc", option]) == 0
    printed = capsys.readouterr().out
    assert program.exists() == there
    assert [word in printed for word in words] == [True, True]
    assert ("remove program" in printed) == there
