"""`suite status`: a lab on one screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import run_command
from suite.home import Home
from suite.measuring.orchestrate import claimed
from suite.store.store import Store, VerdictRow
from suite.store.trainings import Trainings
from tests.support.suite.stored_run import begin, finish


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n  pi: {kind: raspberrypi, host: h}\n")
    return Home.locate()


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run_command(["status", *options]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, "--json"))
    return found


def test_a_new_lab_gets_the_first_command_to_run(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    assert any("pi" in line and "never" in line and "suite run --device pi --quick" in line for line in lines)
    assert "last night: none yet" in lines[-2]
    assert "GB free" in lines[-1]
    assert not home.root.exists()


def test_devices_and_the_last_night_have_their_outcomes(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    begun = begin(home.store_path, purpose="nightly")
    finish(begun, 10.0, 10.1, 9.9)
    begun.store.add_verdicts([VerdictRow(1, begun.measurement_id, "regressed", "rule 1", {}, {})])
    begun.store.close()
    found = document(capsys)
    assert [(one["name"], one["last_run"], one["outcomes"]) for one in found["devices"]] == [
        ("local", begun.run_id, {"ok": 1}),
        ("pi", None, {}),
    ]
    assert (found["night"]["run_id"], found["night"]["verdicts"]) == (begun.run_id, {"regressed": 1})
    assert f"last night: {begun.run_id}, finished: 1 regressed" in printed(capsys)


@pytest.mark.parametrize(("purpose", "command"), [("run", "suite run --resume"), ("nightly", "suite nightly")])
def test_a_run_that_was_killed_has_the_command_that_goes_on(
    purpose: str, command: str, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = [begin(home.store_path, purpose=purpose) for _ in range(2)]
    for begun in killed:
        begun.store.close()
    newest = max(begun.run_id for begun in killed)
    (found,) = document(capsys)["open"]
    assert (found["id"], found["state"], found["command"]) == (newest, "interrupted", command)
    with claimed(newest, home):
        assert document(capsys)["open"][0]["state"] == "running"
    assert "is interrupted, started" in printed(capsys)


def test_a_training_that_did_not_finish_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(home.store_path)
    trainings = Trainings(store.database)
    for number, status in ((1, "finished"), (2, "partial")):
        trainings.begin_group(f"g{number}", [], ["suite", "train"], {})
        trainings.finish_group(f"g{number}", status)
    store.close()
    (found,) = document(capsys)["open"]
    assert (found["what"], found["id"], found["command"]) == ("training", "g2", "suite train --resume")
