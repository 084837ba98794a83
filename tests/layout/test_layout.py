"""The layout of the packages: imports run one way between their parts, and a folder can be taken in at a glance."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PACKAGES = ("foundation", "devices", "workloads", "reports", "suite")
FOLDERS = sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})
BESIDE_FOLDERS, ALONE = 9, 14
"""The most modules in a folder with sub-folders, and in one without."""
LONGEST_MODULE = 400
LONGEST_CHAIN = 12


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_imports_run_one_way_between_rooms(monkeypatch, capsys):
    """The contracts are in pyproject.toml, under `tool.importlinter`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None) == EXIT_STATUS_SUCCESS, (
        capsys.readouterr().out
    )


def named(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def loaded_with(path: Path) -> Iterator[str]:
    """Yields the modules that are imported when this one is, which those within functions are not."""
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.ImportFrom):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
            yield str(statement.module)
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_chain_of_imports_can_be_followed(package: str) -> None:
    paths = [path for folder in FOLDERS if folder.is_relative_to(ROOT / package) for path in modules(folder)]
    imports = {named(path): set(loaded_with(path)) for path in paths}

    @functools.cache
    def longest(module: str) -> tuple[str, ...]:
        chains = (longest(other) for other in imports[module] & imports.keys() - {module})
        return (module, *max(chains, key=len, default=()))

    chain = max(map(longest, imports), key=len)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_holds_few_modules_and_says_what_lives_there(folder):
    below = [other for other in FOLDERS if other.parent == folder]
    assert len(modules(folder)) <= (BESIDE_FOLDERS if below else ALONE)
    assert (folder / "__init__.py").read_text().startswith('"""')


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_module_can_be_read_in_one_go(folder):
    lines = {path.name: len(path.read_text().splitlines()) for path in modules(folder)}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}
