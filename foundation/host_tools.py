"""The C++ compiler of this host; and pip, so that the user's own configuration decides where packages come from."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundation.causes import cause_line
from foundation.errors import UserError

_TIMEOUT_S = 1800


class PipError(Exception):
    """pip could not fetch the package. The message says why, without a full stop."""


def download_wheel(requirement: str, destination: Path, *, options: Sequence[str] = ()) -> Path:
    """Downloads the wheel of `requirement` to the empty folder `destination`, without dependencies; returns its path.

    Raises `PipError`.
    """
    return _download(requirement, destination, "*.whl", ["--only-binary=:all:", *options, requirement])


def download_source(requirement: str, sha256: str, destination: Path) -> Path:
    """Downloads the source archive of `requirement`, pinned by its hash, to the empty folder `destination`.

    pip runs the archive's setup to find its name, and checks the hash first. Raises `PipError`.
    """
    pinned = destination / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    options = ["--no-binary=:all:", "--require-hashes", "--requirement", str(pinned)]
    if importlib.util.find_spec("setuptools") is not None:
        options.append("--no-build-isolation")  # otherwise pip fetches setuptools only for the name
    return _download(requirement, destination, "*.tar.gz", options)


def _download(requirement: str, destination: Path, pattern: str, options: Sequence[str]) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    argv += ["--disable-pip-version-check", "--dest", str(destination), *options]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PipError(f"pip did not download {requirement} within {_TIMEOUT_S} s") from error
    files = list(destination.glob(pattern))
    if done.returncode != 0 or len(files) != 1:
        words = cause_line(done.stderr, done.stdout, limit=200).removeprefix(": ") or "no message"
        raise PipError(f"pip could not download {requirement} ({words})")
    return files[0]


_NAMES = ("c++", "g++", "clang++")


def find_compiler(purpose: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Returns `$CXX`, else the first of c++, g++ and clang++ on `$PATH`.

    Raises `UserError` if there is none; `purpose` completes "a C++ compiler is needed".
    """
    names = (environ["CXX"],) if environ.get("CXX") else _NAMES
    for name in names:
        path = shutil.which(name, path=environ.get("PATH", os.defpath))
        if path:
            return Path(path)
    raise UserError(
        f"A C++ compiler is needed {purpose}, and none was found (looked for {', '.join(names)}): "
        "install one with `sudo apt install g++`, or set CXX to yours."
    )
