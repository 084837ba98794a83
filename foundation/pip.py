"""Fetches wheels through pip, so that the user's own configuration decides where from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from foundation.causes import cause_line

_TIMEOUT_S = 1800


class PipError(Exception):
    """pip could not fetch the wheel. The message says why, without a full stop."""


def download_wheel(requirement: str, destination: Path, *, options: Sequence[str] = ()) -> Path:
    """Downloads the wheel of `requirement` to the empty folder `destination`, without dependencies; returns its path.

    Raises `PipError`.
    """
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    argv += ["--disable-pip-version-check", *options, "--dest", str(destination), requirement]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PipError(f"pip did not download {requirement} within {_TIMEOUT_S} s") from error
    files = list(destination.glob("*.whl"))
    if done.returncode != 0 or len(files) != 1:
        words = cause_line(done.stderr, done.stdout, limit=200).removeprefix(": ") or "no message"
        raise PipError(f"pip could not download {requirement} ({words})")
    return files[0]
