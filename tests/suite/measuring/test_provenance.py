"""What a run keeps of how its numbers came about."""

from __future__ import annotations

import pytest

from suite.cli.main import run_command
from suite.measuring import orchestrate
from suite.preparing.preparation import Preparation


def test_a_run_keeps_the_commit_of_the_suite_and_what_a_person_calls_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrate, "commit", lambda: "0123456789ab+")
    found = orchestrate.environment(Preparation(), "before the upgrade")
    assert (found["commit"], found["label"]) == ("0123456789ab+", "before the upgrade")
    assert {"torch", "executorch", "torchao", "edge-training-suite"} <= set(found)


def test_what_is_not_known_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrate, "commit", str)
    assert not {"commit", "label"} & set(orchestrate.environment(Preparation()))


@pytest.mark.parametrize("command", ["run", "nightly"])
def test_a_label_has_to_say_something_short(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for label in (" ", "x" * 81):
        assert run_command([command, "--label", label]) == 2
        assert "--label has" in capsys.readouterr().err
