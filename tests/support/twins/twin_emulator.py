"""Runs aarch64 programs on this host, as on a given processor."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from devices.deployment.built_runner import BuiltRunner
from devices.runner_builds.bundle import build_bundle
from tests.support.twins.twin_needs import need_programs
from tests.support.twins.twin_processors import Processor

EMULATOR = "qemu-aarch64-static"


def aarch64_bundle(runner_home: Path) -> BuiltRunner:
    """Returns the bundle, building it if it isn't in `runner_home`. Skips the test where that is impossible."""
    if os.uname().machine != "aarch64":
        need_programs("aarch64-linux-gnu-g++")
    return build_bundle("aarch64", runner_home, lambda line: print(line, file=sys.stderr))


def emulated(argv: Sequence[str], processor: Processor, kernel: str | None = None) -> list[str]:
    """Returns the command that runs `argv` on that processor; `kernel` is the release that `uname` shows to it."""
    need_programs(EMULATOR)
    assert processor.emulated_as
    release = [] if kernel is None else ["-r", kernel]
    return [EMULATOR, "-cpu", processor.emulated_as, *release, *argv]


def emulated_script(bundle: BuiltRunner, processor: Processor, path: Path) -> Path:
    """A program at `path` that is the bundle's runner on that processor."""
    command = emulated(bundle.command(str(bundle.folder)), processor)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
    return path
