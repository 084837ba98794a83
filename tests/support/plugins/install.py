"""Puts plugins where Python finds them: the example package as its wheel is installed, and made-up broken ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

EXAMPLE = Path(__file__).parent / "acme_lab"


def install_example(target: Path) -> Path:
    """Builds the example's wheel, from a copy as building leaves files behind, and unpacks it into `target`."""
    source = target.with_name(f"{target.name}-source")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target.mkdir()
    return install_wheel(source, target)


def install_wheel(source: Path, target: Path) -> Path:
    """Builds the wheel of the project in `source` into `target`, and unpacks it there."""
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(target)], cwd=source, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(target / made.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(target)
    return target


def make_plugin(
    target: Path, package: str, entries: Mapping[str, str], *, code: str = "", version: str = "0.9"
) -> None:
    """Writes a package of one module: `entries` are objects by `GROUP NAME`."""
    module = package.replace("-", "_")
    folder = target / f"{module}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (target / f"{module}.py").write_text(code)
    sections = []
    for key, leads_to in entries.items():
        group, name = key.split(" ", 1)
        sections.append(f"[edge_training_suite.{group}]\n{name} = {leads_to}\n")
    (folder / "entry_points.txt").write_text("\n".join(sections))
