"""Fetches Debian's packages, and caches what is made of them.

The mirror is that of apt's configuration; on hosts other than Debian, mmdebstrap's default.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

from tests.support.twins.twin_needs import find_program

BUILD_TIMEOUT_S = 900.0
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
_TARGET = "$(REPO_URI)\t$(COMPONENT)\t$(ORIGIN)\t$(SUITE)"


def debian_architecture(machine: str) -> str:
    """What Debian calls a processor of `uname -m`."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def debian_mirror() -> str | None:
    """The address that apt has for Debian's main archive; None if it has none."""
    apt_get = find_program("apt-get")
    if apt_get is None:
        return None
    argv = [apt_get, "indextargets", "--format", _TARGET, "Created-By: Packages"]
    listing = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    for line in listing.splitlines():
        address, component, origin, suite = line.split("\t")
        if (component, origin) == ("main", "Debian") and "security" not in suite:
            return address.rstrip("/")
    return None


def unpack_debian(
    root: Path, release: str, packages: Sequence[str], architecture: str, unused: Sequence[str] = ()
) -> None:
    """Unpacks packages with all that they need, unconfigured, into a new folder. Raises CalledProcessError."""
    mirror = debian_mirror()
    run_tool(
        *("mmdebstrap", "--quiet", f"--arch={architecture}", "--variant=extract", f"--hook-dir={_MERGED_USR}"),
        *(f"--include={','.join(packages)}", release, str(root), *([mirror] if mirror else [])),
    )
    for name in unused:
        run_tool("rm", "-rf", str(root / name))


def cached(name: str, recipe: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, kept in the user's cache under a hash of `recipe`; there whole or not at all.

    The test skips if it can't be made, for instance without a network.
    """
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    base = user_cache_path("edge-training-suite") / "twins"
    folder = base / f"{name}-{digest}"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / f".{folder.name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=base, prefix=".making-") as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                try:
                    make(made)
                except subprocess.CalledProcessError as error:
                    lines = (error.stderr or "").strip().splitlines() or ["no message"]
                    pytest.skip(
                        f"{name} can't be made: {error.cmd[0]} failed with {error.returncode} ({lines[-1][:200]})"
                    )
                made.rename(folder)
    return folder


def run_tool(*argv: str, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Runs a tool to its end and returns its output. Raises CalledProcessError."""
    program = find_program(argv[0]) or argv[0]
    return subprocess.run(
        [program, *argv[1:]], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=True
    ).stdout


def copy_tree(source: Path, destination: Path) -> None:
    """Copies a folder with owners, links and devices; a root takes a quarter of a second."""
    run_tool("cp", "--archive", "--reflink=auto", "--", str(source), str(destination))


def remove_tree(folder: Path) -> None:
    """Removes a root, whatever the modes of its folders."""
    shutil.rmtree(folder, ignore_errors=True)
