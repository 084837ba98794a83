"""The C++ compilers of this host, and what they say about themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from foundation.errors import UserError

_NAMES = ("c++", "g++", "clang++")
_PROBE_TIMEOUT_S = 60.0


class RunnerBuildError(UserError):
    """The runner can't be built on this host; the message says what is missing or where the log lies."""


def find_compiler(environ: Mapping[str, str] = os.environ) -> Path:
    """`$CXX`, else the first of c++, g++ and clang++ on `$PATH`. Raises `RunnerBuildError` if there is none."""
    wanted = (environ["CXX"],) if environ.get("CXX") else _NAMES
    for name in wanted:
        found = shutil.which(name, path=environ.get("PATH", os.defpath))
        if found:
            return Path(found)
    raise RunnerBuildError(
        f"no C++ compiler was found (looked for {', '.join(wanted)}): install one with `sudo apt install g++`, "
        "or set CXX to yours."
    )


def ask(program: Path, *arguments: str) -> str:
    """What a compiler or one of its tools prints. Raises `RunnerBuildError` if it fails."""
    try:
        result = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RunnerBuildError(f"the compiler {program} can't be run ({error}): set CXX to another one.") from error
    return result.stdout.strip()
