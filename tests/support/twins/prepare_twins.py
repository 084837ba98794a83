"""Makes the roots that twins are copied from, and registers the emulator with the kernel: `make twins`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.twins.twin_adb import phone_template
from tests.support.twins.twin_adbd import adbd_root
from tests.support.twins.twin_jtop import JETSON_STATS, jtop_template
from tests.support.twins.twin_needs import need_aarch64_programs, need_root
from tests.support.twins.twin_root import root_template
from tests.support.twins.twin_system import kernel_template

_AT_ONCE = 3
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def register_emulator() -> None:
    """Lets the kernel start aarch64 programs through qemu-user, in every root. Raises CalledProcessError."""
    if os.uname().machine == "aarch64":
        return
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True)
    if not (_BINFMT / "qemu-aarch64").exists():
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=True)


def main() -> int:
    """Returns 0 if every twin can be made on this machine; else prints the reason and returns 1."""
    machines = sorted({"aarch64", os.uname().machine})
    parts: dict[str, Callable[[], Path]] = {
        **{f"board {machine}": partial(root_template, machine) for machine in machines},
        **{f"phone {machine}": partial(phone_template, machine) for machine in machines},
        **{f"jtop {version}": partial(jtop_template, version) for version in JETSON_STATS},
        "adbd": adbd_root,
        "kernel": kernel_template,
    }
    try:
        need_root()
        register_emulator()
        need_aarch64_programs()
        # Fetching waits, unpacking computes: side by side they take little more than half the time.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, made in {name: pool.submit(make) for name, make in parts.items()}.items():
                print(f"{name}: {made.result()}", flush=True)
    except (pytest.skip.Exception, subprocess.CalledProcessError) as reason:
        print(f"twins can't be made here: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
