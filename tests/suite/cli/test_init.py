"""`suite init` writes what a checkout has, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.inventory.inventory_file import load
from suite.cli.main import run_command

ROOT = Path(__file__).parents[3]
NAMES = ("inventory.yaml", "nightly.yaml", "inventory.schema.json")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_written_is_what_the_checkout_has(folder: Path) -> None:
    assert run_command(["init"]) == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: (ROOT / name).read_text() for name in NAMES
    }
    assert list(load(Path("inventory.yaml")).devices) == ["local"]


def test_a_file_that_is_there_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "inventory.yaml").write_text("mine")
    assert run_command(["init"]) == 0
    assert (folder / "inventory.yaml").read_text() == "mine"
    assert "inventory.yaml exists already and was not changed" in capsys.readouterr().out
    assert run_command(["init"]) == 2
    assert capsys.readouterr().err.startswith(
        "suite: All of inventory.yaml, nightly.yaml, inventory.schema.json are in"
    )


def test_without_an_inventory_the_command_that_writes_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["devices", "list"]) == 2
    assert "`suite init`" in capsys.readouterr().err
