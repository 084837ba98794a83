"""The C++ compiler of this host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from foundation.errors import UserError

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
