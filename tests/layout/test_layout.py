"""The layout of the packages: imports run one way between their parts, and a folder can be taken in at a glance."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PACKAGES = ("foundation", "devices", "workloads", "reports", "suite")
FOLDERS = sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})
BESIDE_FOLDERS, ALONE = 9, 14
"""The most modules in a folder with sub-folders, and in one without."""
LONGEST_MODULE = 400


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_imports_run_one_way_between_rooms(monkeypatch, capsys):
    """The contracts are in pyproject.toml, under `tool.importlinter`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None) == EXIT_STATUS_SUCCESS, (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_holds_few_modules_and_says_what_lives_there(folder):
    below = [other for other in FOLDERS if other.parent == folder]
    assert len(modules(folder)) <= (BESIDE_FOLDERS if below else ALONE)
    assert (folder / "__init__.py").read_text().startswith('"""')


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_module_can_be_read_in_one_go(folder):
    lines = {path.name: len(path.read_text().splitlines()) for path in modules(folder)}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}
