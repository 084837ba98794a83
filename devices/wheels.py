"""The executorch wheel of another machine: fetched once through pip, verified against a pinned hash, unpacked."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from devices.compiler import RunnerBuildError
from foundation.pip import PipError, download_wheel

Notify = Callable[[str], None]

_PARTIAL = ".fetching-"


@dataclass(frozen=True)
class Wheel:
    """A release of executorch for one machine. Which Python it was built for plays no role: none of it is used."""

    version: str
    machine: str
    sha256: str
    size_bytes: int
    platform: str
    python: str = "3.11"

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"executorch-{self.version}-{self.machine}-{self.sha256[:16]}"


# Another release of executorch is another line here; pip prints the hash with `pip hash FILE`.
WHEELS = (
    Wheel(
        "1.5.1",
        "aarch64",
        "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
        17_810_491,
        "manylinux_2_28_aarch64",
    ),
)


def pinned_wheel(version: str, machine: str) -> Wheel:
    """The wheel of that version for that machine. Raises `RunnerBuildError` if none is pinned."""
    for wheel in WHEELS:
        if (wheel.version, wheel.machine) == (version, machine):
            return wheel
    known = ", ".join(f"{wheel.version} for {wheel.machine}" for wheel in WHEELS)
    raise RunnerBuildError(
        f"no wheel of executorch {version} for {machine} is pinned (known: {known}): install one of these versions, "
        "or add its sha256 to devices/wheels.py."
    )


def executorch_of(wheel: Wheel, cache: Path) -> Path:
    """Where the wheel's package `executorch` is, or will be, in `cache`."""
    return cache / wheel.folder / "executorch"


def fetch(wheel: Wheel, cache: Path, notify: Notify) -> Path:
    """The unpacked package `executorch`; downloaded if it isn't there.

    It appears whole or not at all. Raises `RunnerBuildError` if it can't be had, and OSError if it can't be kept.
    """
    target = cache / wheel.folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{wheel.folder}.lock"):
        if not target.is_dir():
            for left_over in cache.glob(f"{_PARTIAL}*"):  # of a process that was killed
                shutil.rmtree(left_over, ignore_errors=True)
            notify(f"fetching executorch {wheel.version} for {wheel.machine} ({wheel.size_bytes / 1e6:.0f} MB, once)")
            with tempfile.TemporaryDirectory(dir=cache, prefix=_PARTIAL) as scratch:
                _unpack(_download(wheel, Path(scratch)), wheel, Path(scratch) / "unpacked")
                (Path(scratch) / "unpacked").rename(target)
    return executorch_of(wheel, cache)


def _download(wheel: Wheel, destination: Path) -> Path:
    try:
        return download_wheel(
            f"executorch=={wheel.version}",
            destination,
            options=["--python-version", wheel.python, "--platform", wheel.platform],
        )
    except PipError as error:
        advice = "connect to the network and try again, or name a runner of your own with `runner: PATH`"
        raise RunnerBuildError(f"{error}, for {wheel.platform}: {advice} in the inventory.") from error


def _unpack(file: Path, wheel: Wheel, destination: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise RunnerBuildError(
            f"{file.name} has sha256 {found}, but {wheel.sha256} is pinned: nothing was kept; check where pip "
            "downloads from."
        )
    with zipfile.ZipFile(file) as archive:
        archive.extractall(destination)
