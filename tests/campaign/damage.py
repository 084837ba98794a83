"""Damaged files of every format, read by the commands that read them."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

from tests.campaign.inputs import FORMATS, prepare
from tests.campaign.limits import Outcome, attempt, fault_of
from tests.campaign.mutations import mutate


def damage(name: str, seed: int, folder: Path, good: dict[str, Path]) -> Outcome:
    """Reads one damaged file. `good` keeps the good files, which are made once."""
    made = FORMATS[name]
    if name not in good:
        path = prepare(folder / f"good {name}".replace(" ", "-").replace(",", ""), made)
        good[name] = path
    base = good[name]
    root = next(parent for parent in base.parents if parent.parent == folder)
    work = folder / "try"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root, work, symlinks=True)
    path = work / base.relative_to(root)
    if seed:  # 0 is the good file
        path.write_bytes(mutate(path.read_bytes(), random.Random(f"{name} {seed}")))

    def read() -> int:
        os.environ["SUITE_HOME"] = str(work / "home")
        sys.argv = ["suite"]
        return made.read(path)

    ended = attempt(read, work)
    return Outcome(ended, fault_of(ended, made.codes), had_effect=bool(seed))
