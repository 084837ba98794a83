"""The wheel has all that an installed suite needs, and works without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout.test_layout import PACKAGES, ROOT
from tests.support.plugins.install import install_wheel

_TOP = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "inventory.yaml", "nightly.yaml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel, as in site-packages. It is built from a copy, as building leaves files behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in _TOP:
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return install_wheel(source, target)


@pytest.mark.slow
def test_a_wheel_has_what_is_no_python(installed: Path) -> None:
    for name in ("inventory.yaml", "nightly.yaml"):
        assert (installed / "suite" / "cli" / "start" / name).read_text() == (ROOT / name).read_text()
    for pattern in (
        "devices/runner/CMakeLists.txt",
        "reports/static/*.js",
        "reports/templates/page.html",
        "workloads/data/reviews.tsv",
        "workloads/tasks/templates/boolq.yaml",
        "*.dist-info/licenses/LICENSE",
    ):
        assert list(installed.glob(pattern)), pattern
    assert {path.name for path in installed.iterdir() if path.is_dir() and "-" not in path.name} == set(PACKAGES)


@pytest.mark.slow
def test_an_installed_suite_starts_a_lab(installed: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    for command in ("init", "devices list", "plan check"):
        done = subprocess.run(
            [sys.executable, "-m", "suite", *command.split()], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), command
    assert (tmp_path / "inventory.yaml").read_text() == (ROOT / "inventory.yaml").read_text()
