"""A command loads what it needs and no more: libraries that take long are imported when they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from suite.cli.devices.inventory import devices_group
from suite.cli.lazy import Later, LazyGroup
from suite.cli.main import cli

ROOT = Path(__file__).parents[3]
HEAVY = {
    *(
        "torch",
        "executorch",
        "torchao",
        "transformers",
        "safetensors",
        "tokenizers",
        "gguf",
        "numpy",
        "scipy",
        "pandas",
    ),
    *("plotly", "jinja2", "sqlalchemy", "paramiko", "adbutils", "tenacity"),
}
PROGRAM = """
import sys
from suite.cli.main import run_command
code = run_command(sys.argv[2:])
print(code, *set(sys.argv[1].split(",")) & set(sys.modules), file=sys.stderr)
"""


def loaded_by(folder: Path, libraries: set[str], *arguments: str) -> list[str]:
    """Exit code of a command, and which of `libraries` its process has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(libraries), *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr.splitlines()[-1].split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inventory.yaml").write_text(
        "devices:\n"
        "  local: {kind: local}\n"
        "  board: {kind: linux, host: 192.0.2.1, user: bench}\n"
        "  phone: {kind: android, serial: R5CT10ABCDE}\n"
    )
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_needs_neither_heavy_libraries_nor_those_of_the_inventory(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    assert loaded_by(folder, HEAVY | {"pydantic", "ruamel", "rich", "filelock"}, *arguments) == ["0"]


@pytest.mark.parametrize(
    "command",
    [
        *("devices --help", "devices list", "devices add --help", "run --device board,phone --dry-run"),
        *("schedule status --help", "selftest --help"),
    ],
)
def test_a_command_that_only_looks_at_the_inventory_loads_no_heavy_library(folder: Path, command: str) -> None:
    assert loaded_by(folder, HEAVY, *command.split()) == ["0"]


def test_reading_the_store_needs_neither_pages_nor_transports_nor_tensors(folder: Path) -> None:
    others = {"torch", "gguf", "tokenizers", "scipy", "pandas", "plotly", "jinja2", "paramiko", "adbutils", "ruamel"}
    assert loaded_by(folder, others, "history") == ["2"]


def test_no_command_loads_libraries_that_take_seconds_before_it_runs() -> None:
    script = (
        "import sys, suite.cli.main as c, suite.cli.devices.inventory as d\n"
        "for later in (*c.cli.later.values(), *d.devices_group.later.values()): later.load()\n"
        "print(*{'torch', 'executorch', 'torchao', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("group", [cli, devices_group])
def test_every_command_is_there_and_its_sentence_is_listed_whole(group: LazyGroup) -> None:
    context = click.Context(group, terminal_width=80)
    listed = " ".join(group.get_help(context).split())
    assert set(group.later) <= set(group.list_commands(context))
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
        later = group.later.get(name)
        assert f"{name} {command.get_short_help_str(200) if later is None else later.help}" in listed


def test_a_package_of_others_that_stands_in_for_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "__init__.py").write_text("raise RuntimeError('this is loaded')")
    script = "import sys; sys.path.insert(0, sys.argv[1]); from suite.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"suite: the package `devices` comes from {tmp_path / 'devices'} instead of ")


def test_what_is_no_command_is_a_mistake_in_the_list() -> None:
    with pytest.raises(TypeError, match=r"suite\.errors\.StoreError is not a command"):
        Later("suite.errors", "StoreError", "").load()


def test_an_unknown_command_is_refused(folder: Path) -> None:
    assert loaded_by(folder, HEAVY, "hystory") == ["2"]
