"""What the shell offers, as it asks for it: through environment variables of the command itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from suite.cli.main import cli
from suite.store.tags import tag_run, take_away
from tests.support.suite.stored_run import KEY, begin, finish


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)
    text = (
        "devices:\n  local: {kind: local}\n  pi-1: {kind: raspberrypi, host: h}\ngroups:\n  pies: {devices: [pi-1]}\n"
    )
    (tmp_path / "inventory.yaml").write_text(text)
    return tmp_path


def offered(line: str) -> list[str]:
    *words, incomplete = line.split(" ")
    return [
        item.value for item in ShellComplete(cli, {}, "suite", "_SUITE_COMPLETE").get_completions(words, incomplete)
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run --device ", ["local", "pi-1", "pies", "all", "kind:local", "kind:raspberrypi"]),
        ("run --device local,pi", ["local,pi-1", "local,pies"]),
        ("gc --device a", ["all"]),
        ("devices remove ", ["local", "pi-1"]),
        ("devices check pi", ["pi-1", "pies"]),
        ("train --model smol", ["smollm2-135m", "smollm2-360m"]),
        ("devices e", ["enroll"]),
        ("run --quic", ["--quick"]),
        ("report ", ["latest", "previous"]),
        ("profile --show l", ["latest", "list"]),
        ("bench peers --peers torch-fp32,torch-c", ["torch-fp32,torch-compile-fp32", "torch-fp32,torch-compile-bf16"]),
    ],
)
def test_names_of_the_inventory_and_of_models_are_offered(line: str, expected: list[str], lab: Path) -> None:
    assert offered(line) == expected
    assert not (lab / ".suite").exists()


def test_runs_tags_and_series_are_offered(lab: Path) -> None:
    (lab / ".suite").mkdir()
    begun = begin(lab / ".suite" / "store.sqlite")
    finish(begun, 10.0, 11.0, 12.0)
    for name in ("v1", "gone"):
        tag_run(begun.store, name, begun.run_id, "me")
    take_away(begun.store, "gone", "me")
    begun.store.close()
    assert offered("compare v1 ") == ["v1", "latest", "previous", begun.run_id]
    assert offered("tag ") == ["v1"]
    assert offered(f"data export {begun.run_id[:6]}") == [begun.run_id]
    assert f"local/{KEY}/latency_ms" in offered("history local/")


def test_what_cannot_be_read_offers_nothing(lab: Path) -> None:
    (lab / "inventory.yaml").write_text("devices: [")
    (lab / ".suite").mkdir()
    (lab / ".suite" / "store.sqlite").write_text("not a store")
    assert (offered("run --device "), offered("history ")) == (["all"], [])


def test_a_shell_gets_its_answer_from_the_command_itself(lab: Path) -> None:
    asked = {"_SUITE_COMPLETE": "bash_complete", "COMP_WORDS": "suite devices check p", "COMP_CWORD": "3"}
    script = "import sys; sys.argv[0] = 'suite'; from suite.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["plain,pi-1", "plain,pies"], "")
